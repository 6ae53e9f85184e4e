"""The host's HTTP server: functions under the route prefix, webhooks, admin endpoints."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    """Return a listening loopback socket on `port`; 0 takes any free port.

    Raises:
        PortTakenError: another process listens on the port.
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
            f"port {port} is taken; end the process that listens there, or choose another port "
            "with --port (0 takes any free port)"
        ) from None
    return listener


def compose(
    admin: Sequence[BaseRoute],
    functions: HttpFunctions,
    webhook: EventGridWebhook,
    route_prefix: str,
) -> Starlette:
    """Return the application with all routes."""

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
