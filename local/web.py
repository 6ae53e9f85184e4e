"""Shared parts of the HTTP endpoints: the server, bounded bodies and Azure's error form."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse


class Server:
    """A uvicorn server on the running loop, without signal handlers.

    Args:
        app: the application.
        listener: a listening socket; `stop` closes the socket.
    """

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        self._listener = listener
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = _WithoutSignals(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start serving."""
        self._task = asyncio.get_running_loop().create_task(
            self._server.serve(sockets=[self._listener])
        )
        # The socket already listens, so early requests wait in its backlog until uvicorn is ready.
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """Stop accepting requests, give running requests 1 s to end, and close the socket."""
        self._server.should_exit = True
        if self._task is not None:
            with suppress(asyncio.CancelledError):
                await self._task
        self._listener.close()


class _WithoutSignals(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class BodyTooLargeError(Exception):
    """A request body is larger than its limit."""


async def read_body(request: Request, limit: int) -> bytes:
    """Return the request's body; no more than about `limit` bytes are held in memory.

    Raises:
        BodyTooLargeError: the body is larger than `limit`.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLargeError
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLargeError
    return bytes(body)


def error_response(status: int, code: str, message: str) -> JSONResponse:
    """Return {"error": {"code", "message"}}, the form of Event Grid and Azure Resource Manager."""
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
