"""Settings of a circuit: frozen, validated, one `BREAKER_*` name per field."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from types import NoneType
from typing import Self, get_args, get_type_hints

from breaker.errors import SettingsError
from breaker.state import Rules

PREFIX = "BREAKER_"
OUTBOX_LIMIT = 1_000
"""Alerts kept while the topic is down; beyond that the oldest go (1,000 openings unheard)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class Recovery(StrEnum):
    """Who moves an open circuit to half-open."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"


class RedisAuth(StrEnum):
    """How the Redis store proves who it is."""

    URL = "url"
    """User and password (or none) as the URL says."""
    ENTRA = "entra"
    """Microsoft Entra: managed identity on Azure, the developer's own login elsewhere."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """How one circuit behaves, the same on all instances.

    Attributes:
        name: the circuit; letters, digits, '.', '_', '-', at most 64.
        failure_threshold: the failure that opens the circuit, counted over all instances.
        window_seconds: length of the sliding window.
        failure_ratio: opens also at this share of failures (0 < ratio <= 1); None: no ratio rule.
        minimum_throughput: failures and successes that the window needs for the ratio rule.
        recovery: "manual" (an operator approves) or "automatic" (after the break).
        break_seconds: the first break with automatic recovery.
        break_seconds_max: what it doubles up to on failed probes.
        half_open_permits: probes at a time, and the successes that close the circuit.
        permit_seconds: lease of a probe's permit; longer than an event takes with its retries.
        count_poison: whether callers should record poison events as failures.
        store_grace_seconds: hold this long without a store before deciding alone.
        store_timeout_seconds: a store that takes longer counts as unavailable.
        poll_seconds: how often the watcher asks even if nothing was pushed; within a second a
            lost push must be made good.
        history_limit: entries kept.
        alert_lease_seconds: how long one deliverer may hold the outbox without a sign of life.
        redis_auth: "url" or "entra".
        redis_client_id: client id of a user-assigned identity (with "entra").
        redis_cluster: whether the URL names a Redis Cluster (OSS clustering policy).
    """

    name: str = "breakwater"
    failure_threshold: int = 100
    window_seconds: float = 30.0
    failure_ratio: float | None = None
    minimum_throughput: int = 100
    recovery: Recovery = Recovery.MANUAL
    break_seconds: float = 30.0
    break_seconds_max: float = 600.0
    half_open_permits: int = 10
    permit_seconds: float = 120.0
    count_poison: bool = True
    store_grace_seconds: float = 30.0
    store_timeout_seconds: float = 2.0
    poll_seconds: float = 0.5
    history_limit: int = 1_000
    alert_lease_seconds: float = 30.0
    redis_auth: RedisAuth = RedisAuth.URL
    redis_client_id: str | None = None
    redis_cluster: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)
        for name, kind in (("recovery", Recovery), ("redis_auth", RedisAuth)):
            # Plain text is taken as well; being frozen is for everybody else.
            member = _parse(_variable(name), kind, str(getattr(self, name)))
            object.__setattr__(self, name, member)
        for name in ("failure_threshold", "minimum_throughput", "half_open_permits"):
            self._check(name, 1, 1_000_000)
        self._check("history_limit", 1, 1_000_000)
        for name in ("window_seconds", "break_seconds", "break_seconds_max", "permit_seconds"):
            self._check(name, 0.001, 7 * 86_400)
        self._check("store_grace_seconds", 0, 86_400)
        self._check("store_timeout_seconds", 0.01, 300)
        self._check("poll_seconds", 0.01, 300)
        self._check("alert_lease_seconds", 1, 3_600)
        if self.failure_ratio is not None:
            self._check("failure_ratio", 0.000_001, 1)
        if self.break_seconds_max < self.break_seconds:
            raise SettingsError(
                f"{_variable('break_seconds_max')} is {self.break_seconds_max:g}: "
                f"it takes at least break_seconds ({self.break_seconds:g})"
            )

    def _check(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high:  # also refuses NaN
            raise SettingsError(
                f"{_variable(name)} is {value:g}: it takes a number from {low:g} to {high:g}"
            )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, str]) -> Self:
        """Build from app settings or `os.environ`; names without the prefix are ignored.

        Raises:
            SettingsError: an unknown `BREAKER_` name (with the near one), or a value out of place.
        """
        hints = get_type_hints(cls)
        known = {_variable(field.name): field.name for field in fields(cls)}
        values: dict[str, object] = {}
        for variable, text in mapping.items():
            if not variable.upper().startswith(PREFIX):
                continue
            name = known.get(variable.upper())
            if name is None:
                near = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0)
                raise SettingsError(f"unknown setting {variable}: did you mean {near[0]}?")
            value = _parse(variable, hints[name], text.strip())
            if value is not None:
                values[name] = value
        return cls(**values)  # type: ignore[arg-type]

    def rules(self, instance: str) -> Rules:
        """The numbers that a store decides by."""
        automatic = self.recovery is Recovery.AUTOMATIC
        return Rules(
            failure_threshold=self.failure_threshold,
            window_us=_us(self.window_seconds),
            failure_ratio=self.failure_ratio or 0.0,
            minimum_throughput=self.minimum_throughput,
            break_us=_us(self.break_seconds) if automatic else 0,
            break_max_us=_us(self.break_seconds_max) if automatic else 0,
            half_open_permits=self.half_open_permits,
            permit_us=_us(self.permit_seconds),
            history_limit=self.history_limit,
            outbox_limit=OUTBOX_LIMIT,
            instance=instance,
        )


def check_name(name: str) -> str:
    """Return a circuit's name, or refuse one that would not fit into a Redis key.

    Raises:
        SettingsError: with what a name may be.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{_variable('name')} is {name!r}: it takes 1 to 64 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    return name


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _variable(field_name: str) -> str:
    return PREFIX + field_name.upper()


def _parse(variable: str, hint: object, text: str) -> object:
    """Turn a setting's text into its field's type; empty text means the default."""
    if not text:
        return None
    options = [option for option in get_args(hint) if option is not NoneType]
    kind = options[0] if options else hint
    if kind is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise SettingsError(f"{variable} is {text!r}: it takes true or false")
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(text.lower())
        except ValueError:
            accepted = " or ".join(str(member) for member in kind)
            raise SettingsError(f"{variable} is {text!r}: it takes {accepted}") from None
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise SettingsError(f"{variable} is {text!r}: it takes a whole number") from None
    if kind is float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise SettingsError(f"{variable} is {text!r}: it takes a number")
        return number
    return text
