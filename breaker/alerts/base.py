"""What an alert is and what publishes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

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
    """One state change that the world is told of.

    Attributes:
        id: `<circuit>:<generation>:<event>`; the same for every attempt, whoever publishes.
        type: CloudEvents type, `breakwater.circuit.opened|half_opened|closed|isolated`.
        name: the circuit.
        generation: the circuit's generation.
        at: when it happened, seconds since the epoch by the store's clock.
        data: name, state, generation, failures, successes, failure_threshold, window_seconds,
            errors (up to 5), reason, by, instance.
        entry: the outbox's own handle; never published.
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
    """The oldest undelivered alerts, held by one deliverer; or who must wait how long.

    Attributes:
        alerts: in the order in which they happened; empty when there are none or `wait` is set.
        wait: seconds until another deliverer's lease ends, when one holds the outbox.
    """

    alerts: tuple[Alert, ...] = ()
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """How much is undelivered, and since when (seconds by the store's clock)."""

    pending: int
    oldest_age: float | None


class Outbox(Protocol):
    """The alerts of one circuit that are not delivered yet.

    Each method raises `StoreUnavailableError` when the store cannot be asked.
    """

    async def claim_alerts(
        self, rules: Rules, token: str, lease_seconds: float, limit: int
    ) -> AlertBatch:
        """Take (or keep) the outbox for `lease_seconds` and return its oldest entries.

        With nothing in it the outbox is let go in the same step.
        """
        ...

    async def settle_alert(
        self, rules: Rules, token: str, entry: str, lease_seconds: float
    ) -> None:
        """Remove a published alert and, if the claim is still ours, extend it."""
        ...

    async def release_alerts(self, rules: Rules, token: str) -> None:
        """Let the outbox go, if it is still ours."""
        ...

    async def outbox(self, rules: Rules) -> OutboxStatus:
        """What waits in the outbox."""
        ...


class AlertPublisher(Protocol):
    """Tells the world of an alert; raises if it was not accepted."""

    async def publish(self, alert: Alert) -> None:
        """Return once the alert was accepted. A repeat carries the same id."""
        ...

    async def aclose(self) -> None:
        """Close what the publisher opened."""
        ...


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
    entry: str = "",
) -> Alert:
    """Build the alert that both stores hand out for an outbox entry."""
    return Alert(
        id=f"{name}:{generation}:{event}",
        type=TYPE_PREFIX + event,
        name=name,
        generation=generation,
        at=at_us / 1_000_000,
        data={
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
        },
        entry=entry,
    )
