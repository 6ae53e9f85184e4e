"""One client: moves bytes between its socket and the engine, and gives its links their turns."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from cproton import (
    PN_CONNECTION_REMOTE_CLOSE,
    PN_CONNECTION_REMOTE_OPEN,
    PN_DELIVERY,
    PN_LINK_FLOW,
    PN_LINK_REMOTE_CLOSE,
    PN_LINK_REMOTE_DETACH,
    PN_LINK_REMOTE_OPEN,
    PN_SESSION_REMOTE_CLOSE,
    PN_SESSION_REMOTE_OPEN,
    pn_event_delivery,
    pn_event_link,
    pn_event_session,
    pn_link_session,
)
from proton import Link, Session

from local.event_hubs import frames
from local.event_hubs.engine import MAX_FRAME_SIZE, UNREADABLE, Engine, identity
from local.event_hubs.errors import FRAMING_ERROR, ILLEGAL_STATE, AmqpError, malformed
from local.event_hubs.links import LinkHandler, refuse
from local.event_hubs.publish import Publisher
from local.event_hubs.routing import Router
from local.event_hubs.sasl import AMQP_HEADER, SaslServer
from local.event_hubs.service import Service
from local.event_hubs.subscribe import TURN_EVENTS, Subscription

READ_SIZE = 64 * 1024
HANDSHAKE_SECONDS = 60.0

logger = logging.getLogger(__name__)


class ClientConnection(asyncio.BufferedProtocol):
    """The server's side of one connection.

    Each turn of the loop does bounded work: at most `READ_SIZE` bytes are taken in or
    `TURN_EVENTS` events sent. Nothing is sent while the socket's buffer is full.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._socket: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._sasl: SaslServer | None = SaslServer()
        self._header = b""
        self._reader = frames.FrameReader(MAX_FRAME_SIZE)
        self._padder = frames.FramePadder()
        self._opened = False
        self._frame: frames.Frame | None = None
        self._formats: dict[tuple[int, int], int] = {}
        self._format = 0
        self._links: dict[int, LinkHandler] = {}
        self._subscriptions: dict[Subscription, None] = {}
        self._router = Router(service, self, self._links)
        self._engine = Engine(
            service.container,
            service.idle_timeout_seconds,
            {
                PN_CONNECTION_REMOTE_OPEN: self._on_connection_open,
                PN_CONNECTION_REMOTE_CLOSE: self._on_connection_close,
                PN_SESSION_REMOTE_OPEN: self._on_session_open,
                PN_SESSION_REMOTE_CLOSE: self._on_session_close,
                PN_LINK_REMOTE_OPEN: self._on_link_open,
                PN_LINK_REMOTE_CLOSE: self._on_link_close,
                PN_LINK_REMOTE_DETACH: self._on_link_close,
                PN_LINK_FLOW: self._on_link_flow,
                PN_DELIVERY: self._on_delivery,
            },
        )
        self._paused = False
        self._flush_scheduled = False
        self._delivery_scheduled = False
        self._timer: asyncio.Handle | None = None
        self._closed = False

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake's clock."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._socket = transport
        self._service.connections.add(self)
        self._timer = self._loop.call_later(HANDSHAKE_SECONDS, self.abort)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes are to be put."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come in."""
        try:
            self._receive(bytes(self._buffer[:nbytes]))
        except AmqpError as error:
            logger.info("closing a connection: %s", error)
            self._engine.fail(error.condition, error.description)
            self._flush()
            self._close_socket()
            return
        self._flush()
        if self._subscriptions:
            self.schedule_delivery()

    def eof_received(self) -> bool:
        """The peer will send no more: nothing can be delivered to it reliably either."""
        return False

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The socket's buffer has drained."""
        self._paused = False
        self._flush()
        self.schedule_delivery()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone: end all links."""
        del exc
        self._closed = True
        self._service.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        for handler in list(self._links.values()):
            handler.finish()
        self._engine.close()

    def abort(self) -> None:
        """Cut the connection without a word, as a broken network does."""
        if self._socket is not None:
            self._socket.abort()

    def shut_down(self, error: AmqpError) -> None:
        """Close the connection and tell the peer why."""
        self._engine.fail(error.condition, error.description)
        self._flush()
        self._close_socket()

    def schedule_flush(self) -> None:
        """Write what the engine has to say, in the next turn of the loop."""
        if not self._flush_scheduled and not self._closed:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def schedule_delivery(self) -> None:
        """Give the subscriptions a turn, in the next turn of the loop."""
        if not self._delivery_scheduled and not self._closed and not self._paused:
            self._delivery_scheduled = True
            self._loop.call_soon(self._deliver)

    @property
    def hubs(self) -> set[str]:
        """Names of the hubs that this connection's links use."""
        links = self._links.values()
        return {link.hub.name for link in links if isinstance(link, Publisher | Subscription)}

    def _receive(self, data: bytes) -> None:
        if self._sasl is not None:
            self._write(self._sasl.feed(data))
            if not self._sasl.finished:
                return
            data, self._sasl = self._sasl.leftover, None
        if self._header != AMQP_HEADER:
            self._header += data
            if len(self._header) < len(AMQP_HEADER):
                return
            data, self._header = self._header[8:], self._header[:8]
            self._engine.push(self._header)
            if self._header != AMQP_HEADER:
                raise AmqpError(FRAMING_ERROR, "AMQP 1.0 is spoken here")
        for frame in self._reader.feed(data):
            self._frame = frame
            content = frame.data
            if frame.code == frames.TRANSFER:
                handle, message_format = frames.message_format(frame)
                if message_format is not None:
                    self._formats[frame.channel, handle] = message_format
                self._format = self._formats.get((frame.channel, handle), 0)
            elif frame.code == frames.OPEN:
                if self._opened:
                    raise AmqpError(ILLEGAL_STATE, "The connection is open already.")
                self._opened = True
                content = frames.reserve_padding_room(frame)
            self._engine.push(content)

    def _flush(self) -> None:
        self._flush_scheduled = False
        while not self._paused and not self._closed:
            output = self._engine.output()
            if output is None:
                self._close_socket()
                return
            if not output:
                return
            self._write(self._padder.feed(output))

    def _deliver(self) -> None:
        self._delivery_scheduled = False
        if self._paused or self._closed:
            return
        room = TURN_EVENTS
        for subscription in list(self._subscriptions):
            if (sent := subscription.deliver(room)) > 0:
                # To the back of the queue: in the next turn the others come first.
                self._subscriptions[subscription] = self._subscriptions.pop(subscription)
                room -= sent
            self._flush()
            if room <= 0 or self._paused or self._closed:
                break
        if any(subscription.ready for subscription in self._subscriptions):
            self.schedule_delivery()

    def _write(self, data: bytes) -> None:
        if data and self._socket is not None and not self._socket.is_closing():
            self._socket.write(data)

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _tick(self) -> None:
        if self._closed:
            return
        now = self._loop.time()
        deadline = self._engine.tick(now)
        self._flush()
        if deadline:
            self._timer = self._loop.call_later(max(0.01, deadline - now), self._tick)

    # The engine's events

    def _on_connection_open(self, event: Any) -> None:
        del event
        self._engine.connection.open()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_soon(self._tick)

    def _on_connection_close(self, event: Any) -> None:
        del event
        self._engine.connection.close()

    def _on_session_open(self, event: Any) -> None:
        Session.wrap(pn_event_session(event)).open()

    def _on_session_close(self, event: Any) -> None:
        session = Session.wrap(pn_event_session(event))
        ended = identity(session._impl)
        for key, handler in list(self._links.items()):
            if identity(pn_link_session(handler.link._impl)) == ended:
                del self._links[key]
                handler.finish()
        session.close()
        session.free()

    def _on_link_open(self, event: Any) -> None:
        link = Link.wrap(pn_event_link(event))
        try:
            handler = self._router.handler_for(link, self._frame.data if self._frame else b"")
            self._links[identity(link._impl)] = handler
            handler.attach()
        except AmqpError as error:
            self._refuse(link, error)
        except UNREADABLE as error:
            self._refuse(link, malformed(str(error)))
        else:
            if isinstance(handler, Subscription):
                self._subscriptions[handler] = None

    def _refuse(self, link: Any, error: AmqpError) -> None:
        logger.info("refusing a link: %s", error)
        self._links.pop(identity(link._impl), None)
        refuse(link, error)

    def _on_link_close(self, event: Any) -> None:
        impl = pn_event_link(event)
        link = Link.wrap(impl)
        handler = self._links.pop(identity(impl), None)
        if handler is not None:
            handler.finish()
        link.close()
        link.free()

    def _on_link_flow(self, event: Any) -> None:
        handler = self._links.get(identity(pn_event_link(event)))
        if handler is not None:
            handler.on_flow()

    def _on_delivery(self, event: Any) -> None:
        handler = self._links.get(identity(pn_event_link(event)))
        if handler is not None:
            handler.on_delivery(pn_event_delivery(event), self._format)

    def forget(self, handler: LinkHandler) -> None:
        """A link is closed on our side; it gets no more turns."""
        if isinstance(handler, Subscription):
            self._subscriptions.pop(handler, None)
