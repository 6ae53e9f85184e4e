"""HTTP server of the console, with its limits and timeouts."""

from __future__ import annotations

import asyncio

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets import http11

from console.settings import ConsoleSettings

REQUEST_SECONDS = 10.0
FRAME_BYTES = 4_096
HEADER_BYTES = 65_536
"""Most bytes of a request's head; Envoy accepts 60 KiB.

Azure's login sends all claims of an operator in one header: 17 KB with the 200 groups that Entra
names at most.
"""
CLOSE_SECONDS = 10.0
STOP_SECONDS = 5
KEEP_ALIVE_SECONDS = 3_900
"""Time for which an idle connection stays open, longer than any proxy keeps it.

If the console closes a connection just when the proxy sends a request on it, the operator gets a
stray 503. So the proxy must close first. Envoy, which Azure Container Apps uses, keeps an idle
connection for one hour unless it is configured (idle_timeout of its HttpProtocolOptions); Azure's
load balancers keep it for 4 minutes, and nginx for one. uvicorn's own default is 5 seconds.
"""
IDLE_MOST = 500
"""Most idle connections; above it the longest idle one is closed, so that sockets do not run out.

A proxy pools far fewer connections.
"""
PING_SECONDS = 20.0
"""Pause between two pings of a WebSocket; Azure ends a connection that is silent for 240 s."""


class RequestTimeoutProtocol(H11Protocol):
    """HTTP protocol that times out slow request heads and clients that read no response.

    uvicorn limits neither, so idle connections could use up an instance's sockets. After an upgrade
    the WebSocket protocol applies its own limits.
    """

    _timer: asyncio.TimerHandle | None = None
    _last_cycle: object = None
    _was_awaited = True
    _unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        super().connection_lost(exc)
        self._stop()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Stop the timer and give the connection to the WebSocket protocol."""
        self._stop()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """Keep the connection for the next request, and bound the number of idle connections."""
        super().on_response_complete()
        if len(self.connections) > IDLE_MOST:
            self._close_longest_idle()

    def _close_longest_idle(self) -> None:
        idle = [
            (kept.when(), each)
            for each in self.connections
            if isinstance(each, RequestTimeoutProtocol)
            and (kept := each.timeout_keep_alive_task) is not None
            and not each.transport.is_closing()
        ]
        if len(idle) > IDLE_MOST:
            _, longest = min(idle, key=lambda found: found[0])
            longest.timeout_keep_alive_handler()

    def _watch(self) -> None:
        self._last_cycle = self.cycle
        self._was_awaited = self._is_awaited()
        self._unsent = self.transport.get_write_buffer_size()
        self._timer = self.loop.call_later(REQUEST_SECONDS, self.look)

    def look(self) -> None:
        """Close the connection if its client is late, else look again later."""
        self._stop()
        if self._unsent and self._unsent == self.transport.get_write_buffer_size():
            self.transport.abort()  # close() would wait until the client reads
            return
        # A head that began only now has its own time.
        late = self._was_awaited and self._is_awaited() and self.cycle is self._last_cycle
        if late and not self.transport.is_closing():
            self.transport.close()
            return
        self._watch()

    def _is_awaited(self) -> bool:
        """Return whether the first request, or the rest of a request's head, is missing.

        A connection between two requests is idle, and uvicorn's keep-alive timeout ends it.
        """
        if self.conn.their_state is not h11.IDLE:
            return False
        received, _ = self.conn.trailing_data
        return self.cycle is None or bool(received)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class BackpressureProtocol(WebSocketsSansIOProtocol):
    """WebSocket protocol that stops reading from a client that does not read.

    uvicorn closes a connection only after all data was sent, and answers the pings of a client that
    does not read. Such a client could fill the memory.
    """

    def data_received(self, data: bytes) -> None:
        """Receive data; pause reading while the write buffer is full."""
        super().data_received(data)
        self._pause_if_full()

    def resume_writing(self) -> None:
        """Resume reading after the write buffer has drained."""
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next message; pause reading while the write buffer is full."""
        message = await super().receive()
        self._pause_if_full()
        return message

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message; abort instead of closing when the write buffer is full."""
        if message["type"] == "websocket.close" and not self.writable.is_set():
            self.transport.abort()
            return
        await super().send(message)

    async def run_asgi(self) -> None:
        """Serve, then abort a connection that does not close within `CLOSE_SECONDS`."""
        await super().run_asgi()
        self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def _pause_if_full(self) -> None:
        if not self.writable.is_set():
            self.transport.pause_reading()


def configure(
    app: Starlette, settings: ConsoleSettings, *, host: str = "127.0.0.1", port: int = 0
) -> uvicorn.Config:
    """Return uvicorn's configuration for the console."""
    # A WebSocket's head is read again by this package, which accepts lines of 8 KiB.
    http11.MAX_LINE_LENGTH = HEADER_BYTES
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=RequestTimeoutProtocol,
        ws=BackpressureProtocol,
        ws_max_size=FRAME_BYTES,
        ws_ping_interval=PING_SECONDS,
        # All browsers share one small frame; compression would need a frame for each browser.
        ws_per_message_deflate=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
