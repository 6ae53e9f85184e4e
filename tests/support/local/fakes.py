"""A fake clock that only a sleep advances, and HTTP receivers in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class FakeTime:
    """A clock that `sleep` advances without waiting; `slept` lists the sleeps in seconds."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


Answer = Callable[[Request, bytes], Response]


@dataclass
class Receiver:
    """An HTTP server in this process; `answer` builds the responses, `requests` records."""

    answer: Answer
    requests: list[tuple[str, str, httpx.Headers, bytes]] = field(default_factory=list)

    def client(self) -> httpx.AsyncClient:
        """Return a client whose requests to any host reach this receiver."""

        async def endpoint(request: Request) -> Response:
            body = await request.body()
            headers = httpx.Headers(request.headers.raw)
            self.requests.append((request.method, str(request.url), headers, body))
            return self.answer(request, body)

        methods = ["GET", "POST", "OPTIONS"]
        app = Starlette(routes=[Route("/{path:path}", endpoint, methods=methods)])
        return httpx.AsyncClient(transport=httpx.ASGITransport(app))


async def until(condition: Callable[[], object]) -> None:
    """Run the other tasks until `condition` is true."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
