"""WebSocket for the page: a snapshot or a resume, then every message once and in order."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Container

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from console.access.auth import Caller, caller_of
from console.access.revoked_sessions import RevokedSessions
from console.live.fanout import Fanout
from console.live.presence import Presence
from console.web.websocket_close import BAD_MESSAGE, TOO_MANY, TOO_SLOW, UNKNOWN, close, refuse

FIRST_SECONDS = 10.0
SEND_SECONDS = 30.0


class OpenSockets:
    """The live connections of this instance, over all pipelines.

    Args:
        most: most connections at a time.

    Attributes:
        count: number of connections.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.count = 0

    @property
    def full(self) -> bool:
        """True while no further connection is accepted."""
        return self.count >= self._most


class Live:
    """WebSocket endpoint that serves browsers from this instance's fan-out.

    Args:
        fanout: the messages and the state.
        presence: counts the pages and the live tails that are open.
        revoked: sessions that were logged out before they expired.
        sockets: the connections of this instance.
    """

    def __init__(
        self,
        fanout: Fanout,
        presence: Presence,
        revoked: RevokedSessions,
        *,
        sockets: OpenSockets,
    ) -> None:
        self._revoked = revoked
        self._fanout = fanout
        self._presence = presence
        self._sockets = sockets

    def routes(self) -> list[WebSocketRoute]:
        """Return the route."""
        return [WebSocketRoute("/live", self.serve)]

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection until it closes."""
        if self._sockets.full:
            await refuse(websocket, TOO_MANY, "this instance has too many connections")
            return
        self._sockets.count += 1
        self._fanout.pages += 1
        try:
            await websocket.accept()
            await self._serve(websocket)
        except WebSocketDisconnect:
            pass
        finally:
            self._sockets.count -= 1
            self._fanout.pages -= 1

    async def _serve(self, websocket: WebSocket) -> None:
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                cursor = _cursor_in(await _receive(websocket))
        except (TimeoutError, ValueError) as error:
            await close(
                websocket, BAD_MESSAGE, str(error) or f"no first message within {FIRST_SECONDS:g} s"
            )
            return
        browser = Browser(websocket, self._fanout, caller_of(websocket.scope), self._revoked)
        sending = asyncio.create_task(browser.send_updates(cursor))
        receiving = asyncio.create_task(self._receive_requests(websocket))
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, receiving):
                task.cancel()
            results = await asyncio.gather(sending, receiving, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                raise result

    async def _receive_requests(self, websocket: WebSocket) -> None:
        with self._presence.viewer() as viewer:
            while True:
                try:
                    message = json.loads(await _receive(websocket))
                    if not isinstance(message, dict) or message.get("type") != "tail":
                        raise ValueError('a message must be {"type":"tail","on":true|false}')  # noqa: TRY301
                except (ValueError, RecursionError) as error:
                    await close(websocket, BAD_MESSAGE, str(error))
                    return
                viewer.watch_tail(message.get("on") is True)


class Browser:
    """The position of one browser, and the next message for the browser."""

    def __init__(
        self,
        websocket: WebSocket,
        fanout: Fanout,
        caller: Caller,
        revoked: Container[str] = frozenset(),
    ) -> None:
        self._revoked = revoked
        self._websocket = websocket
        self._fanout = fanout
        self._caller = caller
        self._position: int | None = None
        self._epoch = self._circuit = -1
        self._dependencies = self._pipelines = 0
        self._beat = fanout.beats

    async def send_updates(self, cursor: str | None) -> None:
        """Send updates until the connection or the session ends."""
        fanout = self._fanout
        self._position = await fanout.resume(cursor)
        self._epoch = fanout.epoch
        while time.time() < self._caller.expires and self._caller.session not in self._revoked:
            wake = fanout.wake
            if not (text := self._next()):
                await wake.wait()
                continue
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await self._websocket.send_text(text)
            except TimeoutError:
                await close(
                    self._websocket, TOO_SLOW, f"a message was not read within {SEND_SECONDS:g} s"
                )
                return
        await close(self._websocket, UNKNOWN, "the session has ended")

    def _next(self) -> str:
        fanout, position = self._fanout, self._position
        ring = fanout.ring
        if position is None or self._epoch != fanout.epoch or position < ring.first:
            self._position, self._epoch = ring.end, fanout.epoch
            self._circuit = fanout.circuit_version
            self._dependencies = fanout.dependencies_version
            self._pipelines = fanout.pipelines_version
            return fanout.snapshot_text
        if self._circuit != fanout.circuit_version:
            self._circuit = fanout.circuit_version
            return fanout.circuit_text
        if self._dependencies != fanout.dependencies_version:
            before, self._dependencies = self._dependencies, fanout.dependencies_version
            return fanout.dependencies_text(before)
        if self._pipelines != fanout.pipelines_version:
            self._pipelines = fanout.pipelines_version
            return fanout.pipelines_text
        while position < ring.end:
            text, position = ring.frame(position)
            self._position = position
            if text:
                return text
        if self._beat != fanout.beats:
            self._beat = fanout.beats
            return fanout.beat_text
        return ""


async def _receive(websocket: WebSocket) -> str:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    if not isinstance(text, str):
        raise ValueError("a message must be text")
    return text


def _cursor_in(text: str) -> str | None:
    try:
        message = json.loads(text)
    except RecursionError:
        raise ValueError("a message must be JSON") from None
    if isinstance(message, dict) and message.get("type") == "resume":
        cursor = message.get("cursor")
        if cursor is None or isinstance(cursor, str):
            return cursor
    raise ValueError('the first message must be {"type":"resume","cursor":"..."|null}')
