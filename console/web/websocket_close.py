"""Closing of WebSockets with a code that tells the page the reason."""

from __future__ import annotations

import contextlib

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

BAD_MESSAGE = 4400
UNKNOWN = 4401
FOREIGN = 4403
TOO_SLOW = 4408
TOO_MANY = 4429


async def refuse(websocket: WebSocket, code: int, reason: str) -> None:
    """Accept and close at once; browsers do not see the code of a socket that was not accepted."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await websocket.accept()
    await close(websocket, code, reason)


async def close(websocket: WebSocket, code: int, reason: str) -> None:
    """Close unless the client has closed; the reason is cut to the size of a close frame."""
    if websocket.application_state is WebSocketState.CONNECTED:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await websocket.close(code, reason.encode()[:120].decode("utf-8", "ignore"))
