"""Periodic work: expired tokens, idle links and connections, retention, timed faults."""

from __future__ import annotations

from dataclasses import dataclass

from local.event_hubs.errors import CONNECTION_FORCED, AmqpError
from local.event_hubs.service import Connection, Service


@dataclass(frozen=True, slots=True)
class IdleLimits:
    """Timeouts after which unused connections and links are closed; defaults are the service's.

    Attributes:
        connection_seconds: for a connection without links.
        publisher_seconds: for a link on which nothing is published.
    """

    connection_seconds: float = 300.0
    publisher_seconds: float = 1800.0

    def __post_init__(self) -> None:
        for name in ("connection_seconds", "publisher_seconds"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} must be greater than 0, got {value!r}")


class Housekeeper:
    """Periodic checks of an endpoint's connections and hubs."""

    def __init__(self, service: Service, limits: IdleLimits) -> None:
        self._service = service
        self._limits = limits
        self._linkless_since: dict[Connection, float] = {}

    def sweep(self) -> None:
        """Run the due work once, and wake the receivers whose delivery rate is limited."""
        now = self._service.now()
        waiting, self._service.due = self._service.due, []
        self._service.due += [(at, work) for at, work in waiting if at > now]
        for at, work in waiting:
            if at <= now:
                work()
        for hub in self._service.namespace:
            hub.trim()
        present = self._service.connections
        self._linkless_since = {
            connection: since
            for connection, since in self._linkless_since.items()
            if connection in present
        }
        for connection in list(present):
            connection.detach_unauthorized()
            connection.detach_idle_publishers(self._limits.publisher_seconds)
            self._close_idle(connection)
        self._service.wake_receivers()

    def _close_idle(self, connection: Connection) -> None:
        if connection.has_links:
            self._linkless_since.pop(connection, None)
            return
        now, limit = self._service.now(), self._limits.connection_seconds
        if now - self._linkless_since.setdefault(connection, now) >= limit:
            connection.shut_down(
                AmqpError(
                    CONNECTION_FORCED,
                    f"The connection was inactive for more than the allowed {limit * 1000:.0f} "
                    f"milliseconds and is closed by container '{self._service.container}'.",
                )
            )
