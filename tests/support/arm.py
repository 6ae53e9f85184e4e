"""A management endpoint whose answers a test decides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

PATH = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/app"


@dataclass
class Arm:
    """A function app's resource.

    Attributes:
        url: address of the resource.
        state: what GET says; a successful stop or start changes it.
        stop, start, get: statuses of the next answers; empty: 200.
        stays: how many GETs still say the state of before the last stop or start.
        said: code and message of the error in an answer.
        calls: method, operation, query and Authorization of each call.
    """

    url: str = ""
    state: str = "Running"
    get: list[int] = field(default_factory=list)
    stop: list[int] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    stays: int = 0
    said: tuple[str, str] = ("Code", "the reason")
    calls: list[tuple[str, str, str, str]] = field(default_factory=list)
    _before: str = ""
    _left: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one call."""
        operation = request.path.removeprefix(PATH).strip("/")
        authorization = request.headers.get("Authorization", "")
        self.calls.append((request.method, operation, request.query_string, authorization))
        answers: list[int] = getattr(self, operation or "get")
        status = answers.pop(0) if answers else 200
        if status == 0 and request.transport is not None:
            request.transport.abort()  # no answer
        if status != 200:
            code, message = self.said
            return web.json_response({"error": {"code": code, "message": message}}, status=status)
        if operation:
            self._before, self._left = self.state, self.stays
            self.state = {"stop": "Stopped", "start": "Running"}[operation]
            return web.Response()
        self._left, says = max(0, self._left - 1), self._before if self._left else self.state
        return web.json_response({"id": PATH, "properties": {"state": says}})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Arm]:
        """Serve on a free port of this machine."""
        app = web.Application()
        app.router.add_route("*", PATH + "{rest:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        self.url = f"http://{host}:{port}{PATH}"
        try:
            yield self
        finally:
            await runner.cleanup()
