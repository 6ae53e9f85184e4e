"""The host's HTTP server: functions under the route prefix, webhooks, admin endpoints."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from local.functions_host.errors import PortTakenError
from local.functions_host.triggers import event_grid

if TYPE_CHECKING:
    from starlette.requests import Request

    from local.functions_host.triggers.event_grid import EventGridWebhook
    from local.functions_host.triggers.http.endpoints import HttpFunctions

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]


def bind(port: int) -> socket.socket:
    """Return a loopback socket on `port`; 0 takes a free one.

    Raises:
        PortTakenError: another process has it.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise PortTakenError(
            f"port {port} is taken; end what listens there, or choose another with --port "
            "(0 takes a free one)"
        ) from None
    return listener


def compose(
    admin: Sequence[BaseRoute],
    functions: HttpFunctions,
    webhook: EventGridWebhook,
    route_prefix: str,
) -> Starlette:
    """Put the routes together."""

    async def call(request: Request) -> Response:
        path: str = request.scope["raw_path"].decode("latin-1")
        return await functions.handle(request, path.removeprefix(f"/{route_prefix}"))

    async def home(request: Request) -> Response:
        return PlainTextResponse("Your Functions host is up and running.\n")

    prefix = f"/{route_prefix}" if route_prefix else ""
    return Starlette(
        routes=[
            Route("/", home, methods=["GET"]),
            *admin,
            Route(event_grid.PATH, webhook.handle, methods=["POST", "OPTIONS"]),
            Route(f"{prefix}/{{path:path}}", call, methods=_METHODS),
        ]
    )


class Server:
    """uvicorn on this loop, without its signal handlers: the host has its own."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        self._listener = listener
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = _QuietServer(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to serve."""
        self._task = asyncio.get_running_loop().create_task(
            self._server.serve(sockets=[self._listener])
        )
        # The socket listens already: what arrives before uvicorn is ready waits in its backlog.
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """Stop accepting, let requests end for a moment, close."""
        self._server.should_exit = True
        if self._task is not None:
            with suppress(asyncio.CancelledError):
                await self._task
        self._listener.close()


class _QuietServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
