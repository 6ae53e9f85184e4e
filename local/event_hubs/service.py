"""The state that all connections of an endpoint share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from local.event_hubs.clock import BrokerClock
from local.event_hubs.errors import AmqpError
from local.event_hubs.hub.namespace import Namespace


class Connection(Protocol):
    """The interface of an open connection for the other parts of the endpoint."""

    @property
    def hubs(self) -> set[str]:
        """The names of the hubs that the links use, in lower case."""

    @property
    def has_links(self) -> bool:
        """Return whether the peer has opened a link."""

    def detach_unauthorized(self) -> None:
        """Detach the links to hubs for which the connection has no valid token."""

    def detach_idle_publishers(self, limit_seconds: float) -> None:
        """Detach the links on which nothing was published for `limit_seconds`."""

    def schedule_delivery(self) -> None:
        """Schedule a delivery turn of the subscriptions."""

    def shut_down(self, error: AmqpError) -> None:
        """Close the connection and report the error to the peer."""

    def abort(self) -> None:
        """Cut the connection without an AMQP close, as a broken network does."""


@dataclass
class Service:
    """The hubs, the connections and the settings.

    Attributes:
        namespace: the hubs.
        now: the broker's clock, seconds since 1970.
        container: the AMQP container id that is announced to clients.
        keys: shared access keys by name; without keys every token is accepted.
        idle_timeout_seconds: AMQP idle timeout that is announced to clients.
        connections: the open connections.
        connections_refused_until: end of the time in which new connections are cut, by `now`.
        latency_ms: injected delay of all output.
        latency_until: end of the injected delay, by `now`.
        due: work for housekeeping, each with the time (by `now`) from which on it is due.
    """

    namespace: Namespace
    now: BrokerClock
    container: str
    keys: Mapping[str, str]
    idle_timeout_seconds: float
    connections: set[Connection] = field(default_factory=set)
    connections_refused_until: float = 0.0
    latency_ms: float = 0.0
    latency_until: float = 0.0
    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def now_ms(self) -> int:
        """Return the milliseconds since 1970."""
        return int(self.now() * 1000)

    def wake_receivers(self) -> None:
        """Schedule a delivery turn on all connections, because a fault or limit may be over."""
        for connection in self.connections:
            connection.schedule_delivery()

    def refuses_connections(self) -> bool:
        """Return whether new connections are cut now."""
        return self.connections_refused_until > 0 and self.now() < self.connections_refused_until

    def latency_seconds(self) -> float:
        """Return the current injected delay of output."""
        if self.latency_ms <= 0 or self.now() >= self.latency_until:
            return 0.0
        return self.latency_ms / 1000
