"""Settings of the console: frozen, validated, the token never shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

TOKEN_CHARS = 16


class ConsoleSettingsError(ValueError):
    """A setting of the console that cannot be used; the message says what it takes."""


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """What the console needs besides the circuit's own settings.

    Attributes:
        token: the bearer token; at least 16 characters.
        callback_hosts: hosts that may be called back: exact names, or `*.domain`. Only loopback
            addresses may be called over plain http.
        delivery_seconds: pause between two looks at undelivered alerts and callbacks.
    """

    token: str = field(repr=False)
    callback_hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    delivery_seconds: float = 5.0

    def __post_init__(self) -> None:
        if len(self.token) < TOKEN_CHARS:
            raise ConsoleSettingsError(
                f"CONSOLE_TOKEN has {len(self.token)} characters: it takes at least {TOKEN_CHARS}"
            )
        if not self.callback_hosts:
            raise ConsoleSettingsError(
                "CONSOLE_CALLBACK_HOSTS is empty: it takes host names or *.domain, with commas"
            )
        if not 0.1 <= self.delivery_seconds <= 3_600:
            raise ConsoleSettingsError(
                f"CONSOLE_DELIVERY_SECONDS is {self.delivery_seconds:g}: "
                "it takes a number from 0.1 to 3600"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, str]) -> Self:
        """Build from app settings or `os.environ`.

        Raises:
            ConsoleSettingsError: a value that cannot be used.
        """
        hosts = values.get("CONSOLE_CALLBACK_HOSTS", "127.0.0.1,localhost").split(",")
        seconds = values.get("CONSOLE_DELIVERY_SECONDS", "") or "5"
        try:
            delivery_seconds = float(seconds)
        except ValueError:
            raise ConsoleSettingsError(
                f"CONSOLE_DELIVERY_SECONDS is {seconds!r}: it takes a number"
            ) from None
        return cls(
            token=values.get("CONSOLE_TOKEN", "").strip(),
            callback_hosts=tuple(host.strip().lower() for host in hosts if host.strip()),
            delivery_seconds=delivery_seconds,
        )
