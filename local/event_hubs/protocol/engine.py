"""Proton's engine for one connection: bytes in, events and bytes out. No sockets here.

Events are read with Proton's C functions: its Python event objects cost more than everything else
that happens to a delivery.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from cproton import (
    PN_EOS,
    addressof,
    isnull,
    pn_collector_peek,
    pn_collector_pop,
    pn_event_type,
    pn_transport_capacity,
    pn_transport_close_head,
    pn_transport_close_tail,
    pn_transport_peek,
    pn_transport_pending,
    pn_transport_pop,
    pn_transport_push,
)
from proton import Collector, Condition, Connection, Endpoint, ProtonException, Transport

from local.event_hubs.errors import FRAMING_ERROR, AmqpError

MAX_FRAME_SIZE = 65536
_CHANNEL_MAX = 4999

# Proton hands a peer's values over unchecked: text that is no UTF-8, maps whose keys cannot be
# hashed, nesting without end show only when they are looked at.
UNREADABLE = (ValueError, TypeError, RecursionError, ProtonException)

type EventHandler = Callable[[Any], None]


class Engine:
    """A server-side AMQP connection without a socket.

    Args:
        container: our container id.
        idle_timeout_seconds: the silence that the peer is told it may keep; after twice that it
            is dropped.
        handlers: what to do with an event, by Proton's event number; called with the event.
    """

    def __init__(
        self, container: str, idle_timeout_seconds: float, handlers: Mapping[int, EventHandler]
    ) -> None:
        self._handlers = handlers
        self._dispatching = False
        self._transport = Transport(Transport.SERVER)
        self._transport.max_frame_size = MAX_FRAME_SIZE
        self._transport.channel_max = _CHANNEL_MAX
        self._transport.idle_timeout = 2 * idle_timeout_seconds  # Proton announces half of it
        self._collector = Collector()
        self.connection = Connection()
        self.connection.container = container
        self.connection.collect(self._collector)
        self._transport.bind(self.connection)

    def push(self, data: bytes) -> None:
        """Take in bytes of the peer and handle what comes of them.

        Raises:
            AmqpError: `amqp:connection:framing-error`, Proton takes them for no frame.
        """
        impl = self._transport._impl
        view = memoryview(data)
        while view:
            capacity = pn_transport_capacity(impl)
            if capacity <= 0:
                break
            taken = pn_transport_push(impl, view[:capacity])
            if taken <= 0:
                break
            view = view[taken:]
            self.dispatch()
        self.dispatch()
        if pn_transport_capacity(impl) < 0 and not self._ended:
            raise AmqpError(FRAMING_ERROR, "A frame of this kind or form is not known.")

    @property
    def has_failed(self) -> bool:
        """Whether the connection has broken the protocol, or been silent for too long."""
        return self._transport.condition is not None

    @property
    def _ended(self) -> bool:
        """Whether there is a reason, told or to be told, that nothing more is taken in."""
        if self.connection.state & Endpoint.REMOTE_CLOSED:
            return True
        return self.has_failed

    def dispatch(self) -> None:
        """Handle the events that are waiting; a handler that comes here has its turn already."""
        if self._dispatching:
            return
        self._dispatching = True
        collector, handlers = self._collector._impl, self._handlers
        try:
            while not isnull(event := pn_collector_peek(collector)):
                try:
                    handler = handlers.get(pn_event_type(event))
                    if handler is not None:
                        handler(event)
                finally:
                    pn_collector_pop(collector)
        finally:
            self._dispatching = False

    def output(self) -> bytes | bytearray | None:
        """Return what has to be written now, maybe nothing; None when all has been written."""
        impl = self._transport._impl
        pending = pn_transport_pending(impl)
        if pending == PN_EOS or pending < 0:
            return None
        if pending == 0:
            return b""
        taken, data = pn_transport_peek(impl, pending)
        if taken < 0:
            return None
        pn_transport_pop(impl, taken)
        return bytes(data)

    def tick(self, now: float) -> float:
        """Do what is due (heartbeats, idle timeout); return when to come back, 0 for never."""
        deadline: float = self._transport.tick(now)
        self.dispatch()
        return deadline

    def fail(self, condition: Condition) -> None:
        """Close the connection with an error."""
        self.connection.condition = condition
        self.connection.close()

    def close(self) -> None:
        """The socket is gone: let Proton conclude what is open, and free it."""
        impl = self._transport._impl
        pn_transport_close_tail(impl)
        pn_transport_close_head(impl)
        self.dispatch()
        with contextlib.suppress(ProtonException):
            self._transport.unbind()
        self.connection.free()
        self.dispatch()


def identity(impl: Any) -> int:
    """A number that tells one of Proton's C objects from another while both live."""
    return int(addressof(impl))
