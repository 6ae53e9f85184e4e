"""Ending WebSockets with a code that the page can act upon."""

from __future__ import annotations

import contextlib

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

BAD_MESSAGE = 4400
UNKNOWN = 4401
FOREIGN = 4403
TOO_SLOW = 4408
TOO_MANY = 4429


async def refuse(websocket: WebSocket, code: int, reason: str) -> None:
    """Close at once. The socket is accepted first: a browser is shown no other refusal's code."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await websocket.accept()
    await close(websocket, code, reason)


async def close(websocket: WebSocket, code: int, reason: str) -> None:
    """Close, unless the other side has done so; what is said is cut to what a frame takes."""
    if websocket.application_state is WebSocketState.CONNECTED:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await websocket.close(code, reason.encode()[:120].decode("utf-8", "ignore"))
