"""What falls due without anybody asking: tokens expire, what is idle goes, retention goes on."""

from __future__ import annotations

from dataclasses import dataclass

from local.event_hubs.errors import CONNECTION_FORCED, AmqpError
from local.event_hubs.service import Connection, Service


@dataclass(frozen=True, slots=True)
class IdleLimits:
    """How long a peer may keep what it does not use; the service's own limits.

    Attributes:
        connection_seconds: a connection without any link.
        publisher_seconds: a link on which nothing is published.
    """

    connection_seconds: float = 300.0
    publisher_seconds: float = 1800.0

    def __post_init__(self) -> None:
        for name in ("connection_seconds", "publisher_seconds"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} must be greater than 0, got {value!r}")


class Housekeeper:
    """Goes through the connections and hubs of an endpoint, again and again."""

    def __init__(self, service: Service, limits: IdleLimits) -> None:
        self._service = service
        self._limits = limits
        self._linkless_since: dict[Connection, float] = {}

    def sweep(self) -> None:
        """Do all that is due now, and go on with what is delivered at a rate."""
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
