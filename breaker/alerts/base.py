"""Alerts, and the protocols of the outbox and the publisher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import urlencode

from breaker.kinds import kind_of
from breaker.names import split_name
from breaker.state import CircuitEvent, CircuitState, Rules

TYPE_PREFIX = "breakwater.circuit."

EVENT_STATES: Mapping[CircuitEvent, CircuitState] = {
    CircuitEvent.OPENED: CircuitState.OPEN,
    CircuitEvent.HALF_OPENED: CircuitState.HALF_OPEN,
    CircuitEvent.CLOSED: CircuitState.CLOSED,
    CircuitEvent.ISOLATED: CircuitState.ISOLATED,
}
STATE_EVENTS: Mapping[CircuitState, CircuitEvent] = {
    state: event for event, state in EVENT_STATES.items()
}


@dataclass(frozen=True, slots=True)
class Alert:
    """A state change of a circuit, to be published.

    Attributes:
        id: `<circuit>:<generation>:<event>`; the same for each attempt on each instance.
        type: CloudEvents type, `breakwater.circuit.opened|half_opened|closed|isolated`.
        name: the circuit.
        generation: the circuit's generation.
        at: time of the change, seconds since the epoch by the store's clock.
        data: kind ("app", "pipeline" or "dependency", see `breaker.kinds`), dependency (the
            dependency's name; only of that kind), name, state, generation, failures, successes,
            failure_threshold, window_seconds, errors (up to 5), reason, by, instance, resume_at
            (seconds since the epoch: the end of a break or an isolation, or None), ends_as
            ("closed" or "open": the state that follows an isolation, or None), recovery (of an
            opening "manual" or "automatic", else None); `link` is added when the alert is
            published.
        entry: the entry's id in the outbox; never published.
    """

    id: str
    type: str
    name: str
    generation: int
    at: float
    data: Mapping[str, Any]
    entry: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class AlertBatch:
    """The answer to a claim on the outbox: the oldest undelivered alerts, or a wait.

    Attributes:
        alerts: in the order of the changes; empty if the outbox is empty or `wait` is set.
        wait: seconds until the lease of another deliverer ends; None if the claim succeeded.
    """

    alerts: tuple[Alert, ...] = ()
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """The number of undelivered alerts, and the age of the oldest in seconds (store's clock)."""

    pending: int
    oldest_age: float | None


class Outbox(Protocol):
    """The undelivered alerts of one circuit.

    Each method raises `StoreUnavailableError` if the store does not answer.
    """

    async def claim_alerts(
        self, rules: Rules, token: str, lease_seconds: float, limit: int
    ) -> AlertBatch:
        """Acquire or renew the lease on the outbox and return up to `limit` oldest entries.

        If the outbox is empty, the same step releases the lease.
        """
        ...

    async def settle_alert(
        self, rules: Rules, token: str, entry: str, lease_seconds: float
    ) -> None:
        """Remove a published alert; renew the lease if `token` still holds it."""
        ...

    async def release_alerts(self, rules: Rules, token: str) -> None:
        """Release the lease on the outbox, if `token` still holds it."""
        ...

    async def outbox(self, rules: Rules) -> OutboxStatus:
        """Return the number and age of the undelivered alerts."""
        ...


class AlertPublisher(Protocol):
    """A destination of alerts, for example an Event Grid topic."""

    async def publish(self, alert: Alert) -> None:
        """Return once the alert was accepted; raise any exception if it was not.

        The same alert may be published twice, with the same id.
        """
        ...

    async def aclose(self) -> None:
        """Close what the publisher opened."""
        ...


def with_link(alert: Alert, console_url: str) -> Alert:
    """Return the alert with `link`, the console's page about its circuit and generation.

    Without an address the link is empty. The links of an alert's repeats are equal.
    """
    link = ""
    if console_url:
        query = urlencode({"circuit": alert.name, "generation": alert.generation})
        link = f"{console_url.rstrip('/')}/?{query}"
    return replace(alert, data={**alert.data, "link": link})


def alert_of(
    name: str,
    event: CircuitEvent,
    generation: int,
    at_us: int,
    *,
    failures: int,
    successes: int,
    failure_threshold: int,
    window_us: int,
    errors: list[str],
    reason: str,
    by: str,
    instance: str,
    resume_at_us: int = 0,
    ends_as: str | None = None,
    stops_app: bool = True,
    entry: str = "",
) -> Alert:
    """Return the alert of an outbox entry; both stores build alerts with this function."""
    _, dependency = split_name(name)
    of_whom: dict[str, object] = {"kind": str(kind_of(name, stops_app=stops_app))}
    if dependency:
        of_whom["dependency"] = dependency
    return Alert(
        id=f"{name}:{generation}:{event}",
        type=TYPE_PREFIX + event,
        name=name,
        generation=generation,
        at=at_us / 1_000_000,
        data={
            **of_whom,
            "name": name,
            "state": str(EVENT_STATES[event]),
            "generation": generation,
            "failures": failures,
            "successes": successes,
            "failure_threshold": failure_threshold,
            "window_seconds": window_us / 1_000_000,
            "errors": errors,
            "reason": reason,
            "by": by,
            "instance": instance,
            "resume_at": resume_at_us / 1_000_000 if resume_at_us else None,
            "ends_as": str(ends_as) if ends_as else None,
            "recovery": _recovery(event, resume_at_us),
        },
        entry=entry,
    )


def _recovery(event: CircuitEvent, resume_at_us: int) -> str | None:
    """Return what ends an opening; an opening that knows its end ends by itself.

    So the alert has the recovery of the opener, whatever the settings of its deliverer.
    """
    if event is not CircuitEvent.OPENED:
        return None
    return "automatic" if resume_at_us else "manual"
