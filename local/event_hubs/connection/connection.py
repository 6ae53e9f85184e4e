"""The connection of one client: input, output, and the turns of its subscriptions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from cproton import PN_CONNECTION_REMOTE_CLOSE, PN_CONNECTION_REMOTE_OPEN

from local.event_hubs.connection.endpoints import Endpoints
from local.event_hubs.connection.links import LinkHandler
from local.event_hubs.connection.tracking_id import TrackingIds
from local.event_hubs.errors import INTERNAL_ERROR, AmqpError
from local.event_hubs.protocol import frames
from local.event_hubs.protocol.delayed_writer import DelayedWriter
from local.event_hubs.protocol.engine import MAX_FRAME_SIZE, Engine
from local.event_hubs.protocol.handshake import Handshake
from local.event_hubs.protocol.sasl import AMQP_HEADER
from local.event_hubs.service import Service

READ_SIZE = 64 * 1024
HANDSHAKE_SECONDS = 60.0
LINGER_SECONDS = 5.0
"""The time that a peer has to read the last output before the socket is aborted."""
MAX_READ_WHILE_PAUSED = 1024 * 1024
"""The most input from a peer that does not read, because the answers wait in the engine."""

logger = logging.getLogger(__name__)


class ClientConnection(asyncio.BufferedProtocol):
    """The server side of one connection.

    Each turn of the event loop does bounded work: at most `READ_SIZE` bytes are read, or at most
    `TURN_EVENTS` events are sent. While the socket's buffer is full, nothing is sent and at most
    `MAX_READ_WHILE_PAUSED` bytes are read.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.tracking = TrackingIds(service.namespace.name, service.now)
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._socket: asyncio.Transport | None = None
        self._writer: DelayedWriter | None = None
        self._loop = asyncio.get_running_loop()
        self._handshake = Handshake()
        self._reader = frames.FrameReader(MAX_FRAME_SIZE)
        self._padder = frames.FramePadder()
        self.endpoints = Endpoints(service, self)
        self._engine = Engine(
            service.container,
            service.idle_timeout_seconds,
            {
                PN_CONNECTION_REMOTE_OPEN: self._on_connection_open,
                PN_CONNECTION_REMOTE_CLOSE: lambda _: self._engine.connection.close(),
                **self.endpoints.handlers,
            },
        )
        self._socket_full = False
        self._read_while_paused = 0
        self._flush_scheduled = False
        self._after_flush: list[Callable[[], None]] = []
        self._delivery_scheduled = False
        self._timer: asyncio.Handle | None = None
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timeout of the handshake, or abort a connection that a fault refuses."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"the transport must be a stream transport, got {transport!r}")
        self._socket = transport
        if self._service.refuses_connections():
            transport.abort()
            return
        self._writer = DelayedWriter(
            transport, self._loop, self._service.latency_seconds, self._resume
        )
        self._service.connections.add(self)
        self._timer = self._loop.call_later(HANDSHAKE_SECONDS, self.abort)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next bytes."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Process received bytes."""
        if self._paused and self._socket is not None:
            self._read_while_paused += nbytes
            if self._read_while_paused > MAX_READ_WHILE_PAUSED:
                self._socket.pause_reading()
        self._guarded(lambda: self._receive(bytes(self._buffer[:nbytes])))
        self.schedule_delivery()

    def eof_received(self) -> bool:
        """Close the connection, because a peer that has ended its output may not read either."""
        return False

    def pause_writing(self) -> None:
        """Pause output while the socket's buffer is full."""
        self._socket_full = True

    def resume_writing(self) -> None:
        """Resume output after the socket's buffer has drained."""
        self._socket_full = False
        self._resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all links after the socket was lost."""
        self._closed = True
        self._service.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._writer is not None:
            self._writer.discard()
        self.endpoints.finish()
        self._engine.close()

    def abort(self) -> None:
        """Cut the connection without an AMQP close, as a broken network does."""
        if self._socket is not None:
            self._socket.abort()

    @property
    def hubs(self) -> set[str]:
        """The names of the hubs that the links use, in lower case."""
        return self.endpoints.hubs

    @property
    def has_links(self) -> bool:
        """Return whether the peer has opened a link."""
        return bool(self.endpoints.links)

    def detach_unauthorized(self) -> None:
        """Detach the links to hubs for which the connection has no valid token."""
        self.endpoints.detach_unauthorized()

    def detach_idle_publishers(self, limit_seconds: float) -> None:
        """Detach the links on which nothing was published for `limit_seconds`."""
        self.endpoints.detach_idle_publishers(limit_seconds)

    def shut_down(self, error: AmqpError) -> None:
        """Close the connection and report the error to the peer."""
        self._engine.fail(self.tracking.condition(error))
        self._flush()
        self._close_socket()

    def schedule_flush(self) -> None:
        """Write the engine's output in the next turn of the event loop."""
        if not self._flush_scheduled and not self._closed:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def after_flush(self, work: Callable[[], None]) -> None:
        """Call a function after the current output of the engine has been written."""
        self._after_flush.append(work)
        self.schedule_flush()

    def schedule_delivery(self) -> None:
        """Schedule a delivery turn of the subscriptions for the next turn of the event loop."""
        if (
            self.endpoints.subscriptions
            and not self._delivery_scheduled
            and not self._closed
            and not self._paused
        ):
            self._delivery_scheduled = True
            self._loop.call_soon(self._deliver)

    def forget(self, handler: LinkHandler) -> None:
        """Drop a link that the endpoint has closed from the delivery turns."""
        self.endpoints.forget(handler)

    @property
    def _paused(self) -> bool:
        return self._socket_full or (self._writer is not None and self._writer.full)

    def _resume(self) -> None:
        if self._paused or self._closed:
            return
        if self._read_while_paused > MAX_READ_WHILE_PAUSED and self._socket is not None:
            self._socket.resume_reading()
        self._read_while_paused = 0
        self._flush()
        self.schedule_delivery()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do the work and write the resulting output; an error closes only this connection."""
        try:
            work()
        except AmqpError as error:
            logger.info("closing a connection after an AMQP error: %s", error)
            self.shut_down(error)
        except Exception:
            logger.exception("closing a connection after an internal error")
            self.shut_down(AmqpError(INTERNAL_ERROR, "The endpoint had an internal error."))
        else:
            self._flush()

    def _receive(self, data: bytes) -> None:
        began = self._handshake.amqp
        data, answer = self._handshake.feed(data)
        self._write(answer)
        if self._handshake.closed:
            self._close_socket()
        if self._handshake.amqp and not began:
            self._engine.push(AMQP_HEADER)
        for frame in self._reader.feed(data):
            self._engine.push(self.endpoints.prepare(frame))

    def _flush(self) -> None:
        self._flush_scheduled = False
        while not self._paused and not self._closed:
            output = self._engine.output()
            if output is None:
                self._close_socket()
                return
            if not output:
                if not self._after_flush:
                    return
                work, self._after_flush = self._after_flush, []
                for each in work:
                    each()
                continue
            self._write(self._handshake.wrap(self._padder.feed(output)))

    def _deliver(self) -> None:
        self._delivery_scheduled = False
        if not self._paused and not self._closed:
            self._guarded(self._give_turns)

    def _give_turns(self) -> None:
        if self.endpoints.deliver(self._flushed):
            self.schedule_delivery()

    def _flushed(self) -> bool:
        """Write the pending output and return whether more output may follow."""
        self._flush()
        return not (self._paused or self._closed)

    def _write(self, data: bytes) -> None:
        if data and self._writer is not None:
            self._writer.write(data)

    def _close_socket(self) -> None:
        """End the links at once, which frees their places; close the socket after all output."""
        self.endpoints.finish()
        if self._writer is not None:
            self._writer.finish()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(LINGER_SECONDS, self.abort)

    def _tick(self) -> None:
        if self._closed:
            return
        now = self._loop.time()
        deadline = self._engine.tick(now)
        self._flush()
        if self._engine.has_failed:
            self._close_socket()  # a peer that does not read would otherwise keep the socket open
        elif deadline:
            self._timer = self._loop.call_later(max(0.01, deadline - now), self._tick)

    def _on_connection_open(self, event: Any) -> None:
        del event
        self._engine.connection.open()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_soon(self._tick)
