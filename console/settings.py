"""Settings of the console: frozen, validated, the token never shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from console.errors import ConsoleSettingsError

TOKEN_CHARS = 16
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """What the console needs besides the circuit's own settings.

    Attributes:
        token: the bearer token, and what operators log in with; at least 16 characters.
        callback_hosts: hosts that may be called back: exact names, or `*.domain`. Only loopback
            addresses may be called over plain http.
        delivery_seconds: pause between two looks at undelivered alerts and callbacks.
        origins: origins besides its own that pages may act from, such as a balancer's.
        proxies: addresses of balancers whose X-Forwarded-For and -Proto are believed; `*`: all.
        easy_auth: whether to believe the X-MS-CLIENT-PRINCIPAL-NAME header. Only where nobody but
            Azure's authentication can reach the console.
        consumer_group: the live tail's own.
        lease_seconds: how long the function hosts' ownership of a partition lasts.
        sockets_max: live connections that one instance takes.
    """

    token: str = field(repr=False)
    callback_hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    delivery_seconds: float = 5.0
    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    easy_auth: bool = False
    consumer_group: str = "console"
    lease_seconds: float = 120.0
    sockets_max: int = 2_000

    def __post_init__(self) -> None:
        if len(self.token) < TOKEN_CHARS:
            raise ConsoleSettingsError(
                f"CONSOLE_TOKEN has {len(self.token)} characters: it takes at least {TOKEN_CHARS}"
            )
        if not self.callback_hosts:
            raise ConsoleSettingsError(
                "CONSOLE_CALLBACK_HOSTS is empty: it takes host names or *.domain, with commas"
            )
        for origin in self.origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in {"http", "https"}
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ConsoleSettingsError(
                    f"CONSOLE_ORIGINS has {origin!r}: it takes https://host[:port], with commas"
                )
        _check("DELIVERY_SECONDS", self.delivery_seconds, 0.1, 3_600)
        _check("LEASE_SECONDS", self.lease_seconds, 1, 3_600)
        _check("SOCKETS_MAX", self.sockets_max, 1, 100_000)

    @classmethod
    def from_mapping(cls, values: Mapping[str, str]) -> Self:
        """Build from app settings or `os.environ`.

        Raises:
            ConsoleSettingsError: a value that cannot be used.
        """
        return cls(
            token=values.get("CONSOLE_TOKEN", "").strip(),
            callback_hosts=_list(values, "CALLBACK_HOSTS", "127.0.0.1,localhost"),
            delivery_seconds=_number(values, "DELIVERY_SECONDS", 5),
            origins=tuple(each.rstrip("/") for each in _list(values, "ORIGINS")),
            proxies=_list(values, "PROXIES"),
            easy_auth=_flag(values, "EASY_AUTH"),
            consumer_group=values.get("CONSOLE_CONSUMER_GROUP", "").strip() or "console",
            lease_seconds=_number(values, "LEASE_SECONDS", 120),
            sockets_max=int(_number(values, "SOCKETS_MAX", 2_000)),
        )


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # also refuses NaN
        raise ConsoleSettingsError(
            f"CONSOLE_{name} is {value:g}: it takes a number from {least:g} to {most:g}"
        )


def _list(values: Mapping[str, str], name: str, default: str = "") -> tuple[str, ...]:
    parts = values.get(f"CONSOLE_{name}", default).split(",")
    return tuple(part.strip().lower() for part in parts if part.strip())


def _number(values: Mapping[str, str], name: str, default: float) -> float:
    text = values.get(f"CONSOLE_{name}", "")
    try:
        return float(text or default)
    except ValueError:
        raise ConsoleSettingsError(f"CONSOLE_{name} is {text!r}: it takes a number") from None


def _flag(values: Mapping[str, str], name: str) -> bool:
    text = values.get(f"CONSOLE_{name}", "").strip().lower()
    if text not in _TRUE | _FALSE:
        raise ConsoleSettingsError(f"CONSOLE_{name} is {text!r}: it takes true or false")
    return text in _TRUE
