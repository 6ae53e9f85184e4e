"""Settings of a circuit: frozen, validated, one `BREAKER_*` name per field."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.fields import Bounds
from breaker.configuration.settings import Settings
from breaker.errors import SettingsError
from breaker.state import Rules

OUTBOX_LIMIT = 1_000
"""Alerts kept while the topic is down; beyond that the oldest go (1,000 openings unheard)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

type _Count = Annotated[int, Bounds(1, 1_000_000)]
type _Period = Annotated[float, Bounds(0.001, 7 * 86_400)]


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
class BreakerSettings(Settings):
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

    PREFIX: ClassVar[str] = "BREAKER_"
    ERROR: ClassVar[type[ConfigurationError]] = SettingsError

    name: str = "breakwater"
    failure_threshold: _Count = 100
    window_seconds: _Period = 30.0
    failure_ratio: Annotated[float, Bounds(0.000_001, 1)] | None = None
    minimum_throughput: _Count = 100
    recovery: Recovery = Recovery.MANUAL
    break_seconds: _Period = 30.0
    break_seconds_max: _Period = 600.0
    half_open_permits: _Count = 10
    permit_seconds: _Period = 120.0
    count_poison: bool = True
    store_grace_seconds: Annotated[float, Bounds(0, 86_400)] = 30.0
    store_timeout_seconds: Annotated[float, Bounds(0.01, 300)] = 2.0
    poll_seconds: Annotated[float, Bounds(0.01, 300)] = 0.5
    history_limit: _Count = 1_000
    alert_lease_seconds: Annotated[float, Bounds(1, 3_600)] = 30.0
    redis_auth: RedisAuth = RedisAuth.URL
    redis_client_id: str | None = None
    redis_cluster: bool = False

    def check_together(self) -> None:
        """Check the name's characters, and that the longest break is not the shortest."""
        check_name(self.name)
        if self.break_seconds_max < self.break_seconds:
            raise SettingsError(
                f"{self.variable('break_seconds_max')} is {self.break_seconds_max:g}: "
                f"it takes at least break_seconds ({self.break_seconds:g})"
            )

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
            f"{BreakerSettings.variable('name')} is {name!r}: it takes 1 to 64 letters, digits, "
            "'.', '_' or '-', beginning with a letter or digit"
        )
    return name


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
