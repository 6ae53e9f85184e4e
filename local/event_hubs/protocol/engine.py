"""Proton's engine for one connection, without a socket: bytes in, events and bytes out.

Events are read with Proton's C functions, because Proton's Python event objects cost more than
all other work on a delivery.
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

# Proton does not check a peer's values. Text that is not UTF-8, map keys that cannot be hashed and
# unlimited nesting raise these errors only when the value is read.
UNREADABLE = (ValueError, TypeError, RecursionError, ProtonException)

type EventHandler = Callable[[Any], None]


class Engine:
    """A server-side AMQP connection without a socket.

    Args:
        container: the endpoint's container id.
        idle_timeout_seconds: AMQP idle timeout that is announced to the peer; a peer that is silent
            for twice that time is dropped.
        handlers: functions by Proton's event number, called with the event.
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
        """Process bytes from the peer and handle the resulting events.

        Raises:
            AmqpError: `amqp:connection:framing-error`, Proton cannot parse the frame.
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
        if pn_transport_capacity(impl) < 0 and not self._input_ended:
            raise AmqpError(FRAMING_ERROR, "The frame has an unknown type or format.")

    @property
    def has_failed(self) -> bool:
        """Return whether the peer has violated the protocol or exceeded the idle timeout."""
        return self._transport.condition is not None

    @property
    def _input_ended(self) -> bool:
        """Return whether the connection is closed or failed, so that no more input is processed."""
        if self.connection.state & Endpoint.REMOTE_CLOSED:
            return True
        return self.has_failed

    def dispatch(self) -> None:
        """Handle the pending events; a nested call from a handler does nothing."""
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
        """Return the bytes to write now, which may be empty; None after the last output."""
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
        """Send due heartbeats and check the idle timeout; return the next due time, 0 for none."""
        deadline: float = self._transport.tick(now)
        self.dispatch()
        return deadline

    def fail(self, condition: Condition) -> None:
        """Close the connection with an error."""
        self.connection.condition = condition
        self.connection.close()

    def close(self) -> None:
        """End everything that is open after the socket was lost, and free Proton's objects."""
        impl = self._transport._impl
        pn_transport_close_tail(impl)
        pn_transport_close_head(impl)
        self.dispatch()
        with contextlib.suppress(ProtonException):
            self._transport.unbind()
        self.connection.free()
        self.dispatch()


def identity(impl: Any) -> int:
    """Return a number that identifies one of Proton's C objects during the object's lifetime."""
    return int(addressof(impl))
