"""What all connections of an endpoint share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from local.event_hubs.errors import AmqpError
from local.event_hubs.hub.namespace import Namespace


class Connection(Protocol):
    """An open connection, as the endpoint's other parts use it."""

    @property
    def hubs(self) -> set[str]:
        """Names of the hubs that the links use, in lower case."""

    @property
    def has_links(self) -> bool:
        """Whether the peer has opened a link."""

    def detach_unauthorized(self) -> None:
        """Detach the links to hubs for which no token is valid any more."""

    def detach_idle_publishers(self, limit_seconds: float) -> None:
        """Detach the links on which nothing was published for `limit_seconds`."""

    def schedule_delivery(self) -> None:
        """Give the subscriptions, if there are any, a turn soon."""

    def shut_down(self, error: AmqpError) -> None:
        """Close the connection with an error for the peer."""

    def abort(self) -> None:
        """Cut the connection without a word, as a broken network does."""


@dataclass
class Service:
    """The hubs, who is connected, and the settings.

    Attributes:
        namespace: the hubs.
        now: seconds since 1970.
        container: the AMQP container id that clients are told.
        keys: shared access keys by name; without any, every token is accepted.
        idle_timeout_seconds: the silence that clients are told they may keep.
        connections: those that are open.
        connections_refused_until: when new connections are let in again, as `now` tells it.
        latency_ms: by how much everything is written late.
        latency_until: until when, as `now` tells it.
        due: what housekeeping is to do, each from a time on, as `now` tells it.
    """

    namespace: Namespace
    now: Callable[[], float]
    container: str
    keys: Mapping[str, str]
    idle_timeout_seconds: float
    connections: set[Connection] = field(default_factory=set)
    connections_refused_until: float = 0.0
    latency_ms: float = 0.0
    latency_until: float = 0.0
    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return int(self.now() * 1000)

    def wake_receivers(self) -> None:
        """Give all subscriptions a turn: what held one back may be over."""
        for connection in self.connections:
            connection.schedule_delivery()

    def refuses_connections(self) -> bool:
        """Whether new connections are to be cut."""
        return self.connections_refused_until > 0 and self.now() < self.connections_refused_until

    def latency_seconds(self) -> float:
        """By how much to write late, now."""
        if self.latency_ms <= 0 or self.now() >= self.latency_until:
            return 0.0
        return self.latency_ms / 1000
