"""HTTP server of the console, with its limits and timeouts."""

from __future__ import annotations

import asyncio

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from console.settings import ConsoleSettings

REQUEST_SECONDS = 10.0
FRAME_BYTES = 4_096
HEADER_BYTES = 16_384
CLOSE_SECONDS = 10.0
STOP_SECONDS = 5


class RequestTimeoutProtocol(H11Protocol):
    """HTTP protocol that times out slow request heads and clients that read no response.

    uvicorn limits neither, so idle connections could use up an instance's sockets. After an upgrade
    the WebSocket protocol applies its own limits.
    """

    _timer: asyncio.TimerHandle | None = None
    _last_cycle: object = None
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

    def _watch(self) -> None:
        self._last_cycle = self.cycle
        self._unsent = self.transport.get_write_buffer_size()
        self._timer = self.loop.call_later(REQUEST_SECONDS, self._check)

    def _check(self) -> None:
        if self._unsent and self._unsent == self.transport.get_write_buffer_size():
            self.transport.abort()  # close() would wait until the client reads
            return
        idle = self.conn.their_state is h11.IDLE
        if idle and self.cycle is self._last_cycle and not self.transport.is_closing():
            self.transport.close()
            return
        self._watch()

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
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=RequestTimeoutProtocol,
        ws=BackpressureProtocol,
        ws_max_size=FRAME_BYTES,
        # All browsers share one small frame; compression would need a frame for each browser.
        ws_per_message_deflate=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
