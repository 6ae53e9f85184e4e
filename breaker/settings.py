"""Settings of a circuit: frozen, validated, one `BREAKER_*` name per field."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.fields import Bounds
from breaker.configuration.settings import Settings
from breaker.errors import SettingsError
from breaker.names import dependency_name, split_name
from breaker.state import Rules

OUTBOX_LIMIT = 1_000
"""Greatest number of undelivered alerts; beyond this number the oldest are removed."""
FRESH_SECONDS = 3.0
"""Time for which an instance's report of running keys counts, unless it polls less often."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

type Count = Annotated[int, Bounds(1, 1_000_000)]
type Period = Annotated[float, Bounds(0.001, 7 * 86_400)]


class Recovery(StrEnum):
    """The way from open to half-open: an operator's approval, or the end of the break."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"


class Mode(StrEnum):
    """The effect of a rule to open that is met."""

    ENFORCE = "enforce"
    """The circuit opens."""
    OBSERVE = "observe"
    """The circuit stays closed; log, history and a metric say that it would have opened."""


class RedisAuth(StrEnum):
    """The authentication of the Redis store."""

    URL = "url"
    """User and password from the URL, if it has any."""
    ENTRA = "entra"
    """Microsoft Entra: the managed identity on Azure, the developer's own login elsewhere."""


@dataclass(frozen=True, slots=True)
class BreakerSettings(Settings):
    """The settings of one circuit, the same on all instances.

    Attributes:
        name: name of the circuit: at most 64 letters, digits, '.', '_' or '-'.
        mode: "enforce", or "observe" to judge the rules without opening the circuit.
        failure_threshold: the circuit opens at this number of failures inside the window, counted
            over all instances.
        window_seconds: length of the rolling window.
        standstill_failures: also opens once this number of attempts has failed since the fleet's
            last success, for long enough and for more than one key; 0 for no standstill rule.
        failure_ratio: also opens at this ratio of failures (0 < ratio <= 1), once the window holds
            `minimum_throughput` outcomes; None for no ratio rule.
        minimum_throughput: failures and successes that the window needs for the ratio rule.
        recovery: "manual" (an operator approves) or "automatic" (after the break).
        break_seconds: the first break with automatic recovery.
        break_seconds_max: the longest break; failed probes double the break up to this length.
        half_open_permits: probes at a time, and the number of successful probes that closes the
            circuit.
        ramp_seconds: time after closing in which the share of lanes that may start rises from
            `half_open_permits` over the fleet to all; 0: all start at once.
        permit_seconds: lease of a probe's permit; must be longer than one event with its retries.
        count_poison: whether callers should record poison events as failures.
        store_grace_seconds: grace time during which an instance holds without the store, before
            the instance decides alone.
        store_timeout_seconds: a slower answer of the store counts as an outage.
        poll_seconds: polling interval of the watcher, which replaces lost pushes.
        history_limit: greatest number of entries in the history.
        stops_app: whether an opening asks the workflow to stop the function app; without it, the
            instances only hold the events.
        max_dependencies: greatest number of dependencies with a circuit of their own; failures of
            a further dependency count for the app's circuit.
        alert_lease_seconds: a deliverer's lease on the outbox; renewed with each alert.
        console_url: address of the operator console, which each alert links to; empty: no link.
        redis_auth: "url" or "entra".
        redis_client_id: client id of a user-assigned identity (with "entra").
        redis_cluster: whether the URL names a Redis Cluster (OSS clustering policy).
    """

    PREFIX: ClassVar[str] = "BREAKER_"
    ERROR: ClassVar[type[ConfigurationError]] = SettingsError

    name: str = "breakwater"
    mode: Mode = Mode.ENFORCE
    failure_threshold: Count = 100
    window_seconds: Period = 30.0
    standstill_failures: Annotated[int, Bounds(0, 1_000_000)] = 10
    failure_ratio: Annotated[float, Bounds(0.000_001, 1)] | None = None
    minimum_throughput: Count = 100
    recovery: Recovery = Recovery.MANUAL
    break_seconds: Period = 30.0
    break_seconds_max: Period = 600.0
    half_open_permits: Count = 10
    ramp_seconds: Annotated[float, Bounds(0, 600)] = 10.0
    permit_seconds: Period = 120.0
    count_poison: bool = True
    store_grace_seconds: Annotated[float, Bounds(0, 86_400)] = 30.0
    store_timeout_seconds: Annotated[float, Bounds(0.01, 300)] = 2.0
    poll_seconds: Annotated[float, Bounds(0.01, 300)] = 0.5
    history_limit: Count = 1_000
    stops_app: bool = True
    max_dependencies: Annotated[int, Bounds(0, 100)] = 20
    alert_lease_seconds: Annotated[float, Bounds(1, 3_600)] = 30.0
    console_url: str = ""
    redis_auth: RedisAuth = RedisAuth.URL
    redis_client_id: str | None = None
    redis_cluster: bool = False

    def check_together(self) -> None:
        """Check the name, the console's address, and that no break exceeds the longest break."""
        check_name(self.name)
        if self.console_url and not _is_address(self.console_url):
            raise SettingsError(
                f"{self.variable('console_url')} is {self.console_url!r:.300}: it takes the "
                "console's http(s) address, such as https://console.example.com"
            )
        if self.break_seconds_max < self.break_seconds:
            raise SettingsError(
                f"{self.variable('break_seconds_max')} is {self.break_seconds_max:g}: "
                f"it takes at least break_seconds ({self.break_seconds:g})"
            )

    def rules(self, instance: str, registration: str = "") -> Rules:
        """Return the rules in a store's units, with this instance's name.

        Args:
            instance: name of the instance.
            registration: see `Rules`.
        """
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
            standstill_failures=self.standstill_failures,
            fresh_us=_us(max(FRESH_SECONDS, 2 * self.poll_seconds)),
            observe=self.mode is Mode.OBSERVE,
            registration=registration,
            stops_app=self.stops_app,
        )


def check_name(name: str) -> str:
    """Return a circuit's name if it fits into a Redis key.

    Raises:
        SettingsError: the name has other characters, or more than 64.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{BreakerSettings.variable('name')} is {name!r}: it takes 1 to 64 letters, digits, "
            "'.', '_' or '-', beginning with a letter or digit"
        )
    return name


def check_circuit_name(name: str) -> str:
    """Return the name of an app's own circuit, or of a dependency's, if it fits into a Redis key.

    Raises:
        SettingsError: see `check_name`.
        ValueError: the dependency's part of the name has other characters than
            `dependency_name` accepts, or capitals.
    """
    app, dependency = split_name(name)
    check_name(app)
    if name != app and dependency_name(dependency) != dependency:
        raise ValueError(f"the name of a dependency is {dependency!r}: it takes lower case")
    return name


def _is_address(url: str) -> bool:
    """Return whether a text is an http(s) address without user, query and fragment."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    plain = url.isprintable() and not any(character in url for character in ' ?#@\\<>"')
    return usable and plain


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
