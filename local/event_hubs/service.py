"""What all connections of an endpoint share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from local.event_hubs.namespace import Namespace

if TYPE_CHECKING:
    from local.event_hubs.connection import ClientConnection


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
    """

    namespace: Namespace
    now: Callable[[], float]
    container: str
    keys: Mapping[str, str]
    idle_timeout_seconds: float
    connections: set[ClientConnection] = field(default_factory=set)

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return int(self.now() * 1000)
