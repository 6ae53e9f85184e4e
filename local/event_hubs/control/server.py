"""The control port: health, hubs and faults over HTTP on loopback.

GET    /healthz
GET    /hubs, /hubs/{name}
PUT    /hubs/{name}     {"partitionCount": 4, "consumerGroups": ["cg1"]}: create an empty hub, or
                        recreate an existing hub
PATCH  /hubs/{name}     {"retentionSeconds": 5}: from now on, also for the events that are there;
                        {"partitionCount": 8}: add partitions, and keep the events
DELETE /hubs/{name}
POST   /faults/...      see `fault_routes.py`
"""

from __future__ import annotations

import socket
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.event_hubs.config import DEFAULT_GROUP, ConfigError, HubConfig
from local.event_hubs.control.fault_routes import FaultRoutes
from local.event_hubs.control.faults import Faults
from local.event_hubs.control.json_body import integer, read_body, signed
from local.event_hubs.errors import NOT_FOUND, AmqpError
from local.event_hubs.hub.hub import EventHub
from local.event_hubs.service import Service
from local.event_hubs.sockets import listen
from local.web import Server


class ControlApp:
    """The HTTP application of a running endpoint's control port."""

    def __init__(self, service: Service, faults: Faults) -> None:
        self._service = service
        self.app = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/hubs", self._hubs),
                Route("/hubs/{name}", self._hub),
                Route("/hubs/{name}", self._create, methods=["PUT"]),
                Route("/hubs/{name}", self._update, methods=["PATCH"]),
                Route("/hubs/{name}", self._delete, methods=["DELETE"]),
                *FaultRoutes(faults).routes,
            ],
            exception_handlers={AmqpError: _amqp_error, ConfigError: _bad_request},
        )

    async def _healthz(self, request: Request) -> Response:
        del request
        return JSONResponse({"status": "ok", "connections": len(self._service.connections)})

    async def _hubs(self, request: Request) -> Response:
        del request
        return JSONResponse({"hubs": [describe(hub) for hub in self._service.namespace]})

    async def _hub(self, request: Request) -> Response:
        return JSONResponse(describe(self._service.namespace.hub(request.path_params["name"])))

    async def _create(self, request: Request) -> Response:
        body = await read_body(request)
        groups = body.get("consumerGroups", [])
        if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
            raise ConfigError(f"consumerGroups must be a list of names, got {groups!r}")
        config = HubConfig(
            request.path_params["name"], integer(body, "partitionCount", 4), tuple(groups)
        )
        return JSONResponse(describe(self._service.namespace.create(config)), status_code=201)

    async def _update(self, request: Request) -> Response:
        hub = self._service.namespace.hub(request.path_params["name"])
        body = await read_body(request)
        if "partitionCount" in body:
            hub.grow(integer(body, "partitionCount", 0))
        if "retentionSeconds" in body or "partitionCount" not in body:
            seconds = signed(body, "retentionSeconds")
            if not seconds > 0:
                raise ConfigError(f"retentionSeconds must be greater than 0, got {seconds!r}")
            hub.retain(seconds)
        return JSONResponse(describe(hub))

    async def _delete(self, request: Request) -> Response:
        self._service.namespace.delete(request.path_params["name"])
        return Response(status_code=204)


def describe(hub: EventHub) -> dict[str, Any]:
    """Return a hub as JSON: name, creation time (ms since 1970), groups, links, and kept ranges.

    The group `$Default`, which always exists, is left out.
    """
    return {
        "name": hub.name,
        "created_at": hub.created_ms,
        "consumer_groups": sorted(hub.groups - {DEFAULT_GROUP.lower()}),
        "partitions": [
            {
                "partition": str(log.partition),
                "begin_sequence_number": log.begin_sequence,
                "last_sequence_number": log.last_sequence,
                "last_offset": str(log.last_offset),
                "count": len(log),
                "bytes": log.size_bytes,
            }
            for log in hub.partitions
        ],
        "links": len(hub.links),
    }


class ControlServer:
    """The HTTP server of the control port, which runs in the endpoint's event loop."""

    def __init__(self, service: Service, faults: Faults, host: str, port: int) -> None:
        self._app = ControlApp(service, faults).app
        self._host = host
        self._port = port
        self._socket: socket.socket | None = None
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """The base URL, known after `start`."""
        if self._socket is None:
            raise RuntimeError("the control port has not been opened")
        return f"http://{self._host}:{self._socket.getsockname()[1]}"

    async def start(self) -> None:
        """Start to listen.

        Raises:
            OSError: the port is in use.
        """
        self._socket = listen(self._host, self._port)
        self._server = Server(self._app, self._socket)
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening, and wait a short time for running requests."""
        if self._server is not None:
            await self._server.stop()


async def _amqp_error(request: Request, error: Exception) -> Response:
    del request
    status = 404 if isinstance(error, AmqpError) and error.condition == NOT_FOUND else 400
    return JSONResponse({"error": str(error)}, status_code=status)


async def _bad_request(request: Request, error: Exception) -> Response:
    del request
    return JSONResponse({"error": str(error)}, status_code=400)
