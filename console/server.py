"""The HTTP server around the app: its limits, and its patience with those who say nothing."""

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
    """Closes a connection on which no whole request head came for a while, or nothing was taken.

    uvicorn waits for ever for a first request, so that connecting and saying nothing would be
    enough to use up an instance's sockets; and for ever until an answer is taken. Once a WebSocket
    has taken the connection over, that one looks after it.
    """

    _timer: asyncio.TimerHandle | None = None
    _last_cycle: object = None
    _unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop it."""
        super().connection_lost(exc)
        self._stop()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Stop it: the connection is another protocol's now."""
        self._stop()
        super().handle_websocket_upgrade(event)

    def _watch(self) -> None:
        self._last_cycle = self.cycle
        self._unsent = self.transport.get_write_buffer_size()
        self._timer = self.loop.call_later(REQUEST_SECONDS, self._check)

    def _check(self) -> None:
        if self._unsent and self._unsent == self.transport.get_write_buffer_size():
            self.transport.abort()  # closing would wait until it is taken
            return
        waits = self.conn.their_state is h11.IDLE
        if waits and self.cycle is self._last_cycle and not self.transport.is_closing():
            self.transport.close()
            return
        self._watch()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class BackpressureProtocol(WebSocketsSansIOProtocol):
    """Waits for nobody who takes nothing, and hears nothing more of him.

    uvicorn closes when everything was sent, which may be never, and answers pings without looking
    whether the answers are taken: memory would be the caller's to fill.
    """

    def data_received(self, data: bytes) -> None:
        """Take no more while what was answered is not taken."""
        super().data_received(data)
        self._pause_if_full()

    def resume_writing(self) -> None:
        """Listen again."""
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        """See `data_received`."""
        message = await super().receive()
        self._pause_if_full()
        return message

    async def send(self, message: ASGISendEvent) -> None:
        """Send; what closes is not waited with."""
        if message["type"] == "websocket.close" and not self.writable.is_set():
            self.transport.abort()
            return
        await super().send(message)

    async def run_asgi(self) -> None:
        """Serve, and let no connection outlive that for long."""
        await super().run_asgi()
        self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def _pause_if_full(self) -> None:
        if not self.writable.is_set():
            self.transport.pause_reading()


def configure(
    app: Starlette, settings: ConsoleSettings, *, host: str = "127.0.0.1", port: int = 0
) -> uvicorn.Config:
    """How the console is served."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=RequestTimeoutProtocol,
        ws=BackpressureProtocol,
        ws_max_size=FRAME_BYTES,
        # Frames are small and shared by all; compressing would make each a browser's own.
        ws_per_message_deflate=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
