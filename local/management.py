"""The two calls of Azure Resource Manager that the workflow makes: stop and start a site."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.services.cloud import SITE_PATH
from local.site import SiteState, State
from local.state_directory import StateDirectory
from local.web import error_response

KEPT_OPERATIONS = 1000
_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")
_TARGETS: dict[str, State] = {"stop": "Stopped", "start": "Running"}


class Management:
    """The function app as an Azure resource: its state, its instances, its past operations.

    Args:
        directory: the stack's directory with the site's state and the records of host instances.
        now: returns the time, with a time zone.
        stop_seconds: seconds before a stop takes effect. A stop on Azure also takes time, so no
            caller may depend on an immediate stop.
    """

    def __init__(
        self,
        directory: StateDirectory,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        stop_seconds: float = 0.0,
    ) -> None:
        self._directory = directory
        self._site = SiteState(directory.path)
        self._now = now
        self._stop_seconds = stop_seconds
        self._stopping: asyncio.Task[None] | None = None
        self._history: deque[dict[str, Any]] = deque(maxlen=KEPT_OPERATIONS)

    def routes(self) -> list[Route]:
        """Return the routes: GET the site and /history, POST /stop and /start; case is ignored."""
        pattern = "/subscriptions/{subscription}/{rest:path}"
        return [Route(pattern, self._dispatch, methods=["GET", "POST"])]

    def describe(self) -> dict[str, Any]:
        """Return the site in ARM's form; `instances` counts live function host processes."""
        return {
            "id": SITE_PATH,
            "name": SITE_PATH.rpartition("/")[2],
            "type": "Microsoft.Web/sites",
            "kind": "functionapp,linux",
            "location": "local",
            "properties": {
                "state": self._site.read(),
                "instances": len(self._directory.live_hosts()),
            },
        }

    def apply(self, operation: str, by: str) -> None:
        """Stop or start the site and record the operation, also a repeated one."""
        before = self._site.read()
        if self._stopping is not None:
            self._stopping.cancel()
            self._stopping = None
        if operation == "stop" and self._stop_seconds:
            self._stopping = asyncio.get_running_loop().create_task(self._stop_later())
        else:
            self._site.write(_TARGETS[operation])
        self._history.append(
            {
                "operation": operation,
                "at": self._now().isoformat(),
                "by": by,
                "from": before,
                "to": _TARGETS[operation],
            }
        )

    async def aclose(self) -> None:
        """Cancel a stop that has not taken effect yet."""
        if self._stopping is not None:
            self._stopping.cancel()

    async def _stop_later(self) -> None:
        await asyncio.sleep(self._stop_seconds)
        self._site.write(_TARGETS["stop"])

    async def _dispatch(self, request: Request) -> Response:
        path, _, operation = request.url.path, None, ""
        if path.lower() != SITE_PATH.lower():
            path, _, operation = path.rpartition("/")
        if path.lower() != SITE_PATH.lower():
            return error_response(
                404, "ResourceNotFound", f"The resource {request.url.path!r} was not found."
            )
        if (problem := _version_problem(request)) is not None:
            return problem
        handlers: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("GET", ""): self._get,
            ("GET", "history"): self._get_history,
            ("POST", "stop"): self._post,
            ("POST", "start"): self._post,
        }
        handler = handlers.get((request.method, operation.lower()))
        if handler is None:
            known = ", ".join(f"{method} /{name}" for method, name in handlers)
            return error_response(
                405, "MethodNotAllowed", f"{request.method} /{operation} is not one of {known}."
            )
        return await handler(request)

    async def _get(self, _: Request) -> Response:
        return JSONResponse(self.describe())

    async def _get_history(self, _: Request) -> Response:
        return JSONResponse({"value": list(self._history)})

    async def _post(self, request: Request) -> Response:
        operation = request.url.path.rpartition("/")[2].lower()
        self.apply(operation, request.headers.get("user-agent", "unknown"))
        return Response(status_code=200)


def _version_problem(request: Request) -> Response | None:
    version = request.query_params.get("api-version")
    if version is None:
        return error_response(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if not _API_VERSION.fullmatch(version):
        return error_response(
            400,
            "InvalidApiVersionParameter",
            f"The api-version {version!r} is invalid; a version has the form 2025-03-01.",
        )
    return None
