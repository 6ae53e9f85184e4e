"""Paths of several pipelines: each has its own prefix, and a path without one names the choices."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from console.circuit.circuits import PATH, name_and_action
from console.pipelines.console import PipelineConsole
from console.pipelines.rows import PipelineRows
from console.web.responses import ApiResponse
from console.web.websocket_close import BAD_MESSAGE, refuse

PREFIX = "/pipelines"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class PipelineRouting:
    """The routes of all pipelines.

    An app without declared pipelines has today's paths, such as `/api/poison`. Several pipelines
    have `/pipelines/NAME/api/poison` each. A circuit's name says its pipeline, so that
    `/api/circuits/NAME` needs no prefix.

    Args:
        pipelines: the pipelines, in the order of their declaration.
        rows: the list of the pipelines.
    """

    def __init__(self, pipelines: Sequence[PipelineConsole], rows: PipelineRows) -> None:
        self._pipelines = pipelines
        self._rows = rows

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        only = self._pipelines[0] if len(self._pipelines) == 1 else None
        declared = [each for each in self._pipelines if each.declared]
        found: list[BaseRoute] = [
            Mount(f"{PREFIX}/{each.name}", routes=each.routes()) for each in declared
        ]
        if declared:
            found.append(Route("/api/pipelines", self.show, methods=["GET"]))
            found.append(Route(f"{PREFIX}/{{name}}/{{path:path}}", self._unknown, methods=_METHODS))
        if only is not None:
            return [*found, *only.routes()]
        return [
            *found,
            Route(f"{PATH}{{path:path}}", self.act, methods=["GET", "POST"]),
            Route("/api/{path:path}", self._unnamed, methods=_METHODS),
            WebSocketRoute("/live", self._refuse_live),
        ]

    async def show(self, _: Request) -> ApiResponse:
        """Return the list of the pipelines, as this instance knows them."""
        return ApiResponse({"pipelines": self._rows.documents()})

    async def act(self, request: Request) -> ApiResponse:
        """Answer `/api/circuits/NAME/ACTION` through the pipeline that has the circuit."""
        name, _ = name_and_action(request.scope, self._pipelines[0].actions.names)
        for each in self._pipelines:
            if each.circuits.has(name):
                return await each.actions.act(request)
        raise HTTPException(404, f"there is no circuit {name[:100]!r} in this console")

    async def _unnamed(self, request: Request) -> ApiResponse:
        raise HTTPException(404, f"choose a pipeline: {self._paths(request.url.path)}")

    async def _unknown(self, request: Request) -> ApiResponse:
        name = request.path_params["name"]
        names = ", ".join(each.name for each in self._pipelines)
        if name in names.split(", "):
            raise HTTPException(404, "Not Found")
        raise HTTPException(404, f"there is no pipeline {name[:60]!r}; the console has {names}")

    async def _refuse_live(self, websocket: WebSocket) -> None:
        await refuse(websocket, BAD_MESSAGE, f"choose a pipeline: {self._paths('/live')}")

    def _paths(self, path: str) -> str:
        return " or ".join(f"{PREFIX}/{each.name}{path[:100]}" for each in self._pipelines)
