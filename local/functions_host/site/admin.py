"""The admin endpoints of a host: status, drain, and manual runs of functions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from local.functions_host.worker.cancellation import CancellationToken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from local.functions_host.worker.execution import Executor
    from local.functions_host.worker.functions import Function


class DrainControl(Protocol):
    """The part of a host that the admin endpoints control."""

    @property
    def draining(self) -> bool:
        """True while drain mode is on."""

    @property
    def state(self) -> str:
        """The host's state, `Running` or `Stopping`."""

    async def drain(self) -> None:
        """Stop listening and let running work end."""

    async def resume(self) -> None:
        """Start listening again."""


class Admin:
    """The `/admin/...` endpoints that are useful on one machine; as with `func start`, no key."""

    def __init__(
        self,
        functions: Mapping[str, Function],
        disabled: frozenset[str],
        executor: Executor,
        control: DrainControl,
        *,
        host_id: str,
        base_url: str,
    ) -> None:
        self._functions = {name.lower(): function for name, function in functions.items()}
        self._disabled = disabled
        self._executor = executor
        self._control = control
        self._host_id = host_id
        self._base_url = base_url

    def routes(self) -> list[Route]:
        """Return every admin route."""
        return [
            Route("/admin/host/status", self._status, methods=["GET"]),
            Route("/admin/host/ping", self._ping, methods=["GET", "POST"]),
            Route("/admin/host/drain", self._drain, methods=["POST"]),
            Route("/admin/host/drain/status", self._drain_status, methods=["GET"]),
            Route("/admin/host/resume", self._resume, methods=["POST"]),
            Route("/admin/functions", self._list, methods=["GET"]),
            Route("/admin/functions/{name}", self._describe, methods=["GET"]),
            Route("/admin/functions/{name}", self._run, methods=["POST"]),
            Route("/admin/functions/{name}/status", self._function_status, methods=["GET"]),
        ]

    async def _status(self, request: Request) -> Response:
        return JSONResponse(
            {"id": self._host_id, "state": self._control.state, "version": "4.0.0.0", "errors": []}
        )

    async def _ping(self, request: Request) -> Response:
        return Response(status_code=200)

    async def _drain(self, request: Request) -> Response:
        await self._control.drain()
        return Response(status_code=202)

    async def _drain_status(self, request: Request) -> Response:
        invocations = self._executor.outstanding_invocations
        retries = self._executor.outstanding_retries
        state = "Disabled"
        if self._control.draining:
            state = "InProgress" if invocations or retries else "Completed"
        return JSONResponse(
            {
                "state": state,
                "outstandingInvocations": invocations,
                "outstandingRetries": retries,
            }
        )

    async def _resume(self, request: Request) -> Response:
        await self._control.resume()
        return JSONResponse({"state": self._control.state})

    async def _list(self, request: Request) -> Response:
        return JSONResponse([self._description(item) for item in self._functions.values()])

    async def _describe(self, request: Request) -> Response:
        function = self._functions.get(request.path_params["name"].lower())
        return (
            Response(status_code=404)
            if function is None
            else JSONResponse(self._description(function))
        )

    async def _function_status(self, request: Request) -> Response:
        known = request.path_params["name"].lower() in self._functions
        return JSONResponse({"errors": []}) if known else Response(status_code=404)

    async def _run(self, request: Request) -> Response:
        function = self._functions.get(request.path_params["name"].lower())
        if function is None:
            return Response(status_code=404)
        from local.functions_host.site.manual import manual_invocation  # noqa: PLC0415 - every SDK

        body = await request.body()
        try:
            document = json.loads(body) if body else {}
        except ValueError:
            return PlainTextResponse('the body takes JSON: {"input": "..."}', 400)
        if not isinstance(document, dict):
            return PlainTextResponse('the body takes an object: {"input": "..."}', 400)
        try:
            invocation = manual_invocation(function, document.get("input"))
        except ValueError as error:
            return PlainTextResponse(str(error), 400)
        self._executor.start(self._executor.execute(function, invocation, CancellationToken()))
        return Response(status_code=202)

    def _description(self, function: Function) -> dict[str, Any]:
        return {
            "name": function.name,
            "language": "python",
            "isDisabled": function.name in self._disabled,
            "config": {"bindings": function.bindings},
            "href": f"{self._base_url}/admin/functions/{function.name}",
        }
