"""The control port of the proxy: health and faults over HTTP on loopback.

GET   /healthz
POST  /switch    {"to": 1}: new connections go to another server; open connections stay
POST  /mute      {"new": false}: the open connections are never answered again; with `new`, later
                 connections are not answered either, until the next request without `new`
POST  /cut       reset the open connections
"""

from __future__ import annotations

import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.redis_proxy.proxy import SwitchingProxy
from local.web import BodyTooLargeError, error_response, read_body

_MOST_BYTES = 10_000


class RequestError(ValueError):
    """A request cannot be carried out; the message names the accepted values."""


def control_app(proxy: SwitchingProxy) -> Starlette:
    """Return the HTTP application of a running proxy."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def switch(request: Request) -> Response:
        target = (await _body(request)).get("to")
        if isinstance(target, bool) or not isinstance(target, int):
            raise RequestError(f"to must be the number of a server, counted from 0, not {target!r}")
        try:
            proxy.switch(target)
        except ValueError as error:
            raise RequestError(str(error)) from None
        return JSONResponse({"target": proxy.target})

    async def mute(request: Request) -> Response:
        new = (await _body(request)).get("new", False)
        if not isinstance(new, bool):
            raise RequestError(f"new must be true or false, not {new!r}")
        proxy.mutes_new = new
        return JSONResponse({"muted": proxy.mute()})

    async def cut(_: Request) -> Response:
        return JSONResponse({"cut": proxy.cut()})

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            *(Route(f"/{act.__name__}", act, methods=["POST"]) for act in (switch, mute, cut)),
        ],
        exception_handlers={RequestError: _bad_request, BodyTooLargeError: _bad_request},
    )


async def _body(request: Request) -> dict[str, Any]:
    raw = await read_body(request, _MOST_BYTES)
    try:
        body = json.loads(raw) if raw else {}
    except ValueError:
        raise RequestError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise RequestError(f"the body must be a JSON object, got {body!r}")
    return body


async def _bad_request(_: Request, error: Exception) -> Response:
    message = str(error) or f"the body must be at most {_MOST_BYTES} bytes"
    return error_response(400, "BadRequest", message)
