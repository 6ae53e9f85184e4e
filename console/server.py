"""The HTTP server around the app: its limits, and its patience with those who say nothing."""

from __future__ import annotations

import asyncio

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from console.settings import ConsoleSettings

REQUEST_SECONDS = 10.0
FRAME_BYTES = 4_096
HEADER_BYTES = 16_384
STOP_SECONDS = 5


class Impatient(H11Protocol):
    """Closes a connection on which no whole request head came for a while.

    uvicorn waits for ever for a first request, so that connecting and saying nothing would be
    enough to use up an instance's sockets. Once a WebSocket has taken the connection over, that
    one's pings look after it.
    """

    _clock: asyncio.TimerHandle | None = None
    _seen: object = None

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
        self._seen = self.cycle
        self._clock = self.loop.call_later(REQUEST_SECONDS, self._look)

    def _look(self) -> None:
        waits = self.conn.their_state is h11.IDLE
        if waits and self.cycle is self._seen and not self.transport.is_closing():
            self.transport.close()
            return
        self._watch()

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


def configure(
    app: Starlette, settings: ConsoleSettings, *, host: str = "127.0.0.1", port: int = 0
) -> uvicorn.Config:
    """How the console is served."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Impatient,
        ws="websockets-sansio",
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
