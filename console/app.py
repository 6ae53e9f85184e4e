"""Composition root of the console, an ASGI app."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route

from breaker import CircuitBreaker, DependencyCircuits
from console.access.auth import Auth
from console.access.login import Login
from console.access.revoked_sessions import RevokedSessions
from console.access.session import Sessions
from console.background import start
from console.backplane.coordination import Coordination, MemoryCoordination
from console.backplane.stream import Backplane
from console.circuit.approvals import ApprovalsApi
from console.circuit.circuits import AllCircuits
from console.live.websocket import OpenSockets
from console.pipelines.console import PipelineConsole
from console.pipelines.parts import PipelineParts
from console.pipelines.routing import PipelineRouting
from console.pipelines.rows import PipelineRows
from console.reader.vitals import VitalsSource
from console.settings import ConsoleSettings
from console.web.headers import SecurityHeaders
from console.web.pages import page_routes
from console.web.responses import ERRORS, ApiResponse
from processing.site.watch import SiteWatch


def create_app(
    breaker: CircuitBreaker,
    settings: ConsoleSettings,
    *,
    dependencies: DependencyCircuits | None = None,
    coordination: Coordination | None = None,
    queue_coordination: Coordination | None = None,
    backplane: Backplane | None = None,
    vitals: VitalsSource | None = None,
    watch: SiteWatch | None = None,
    app_settings: Mapping[str, str] | None = None,
) -> Starlette:
    """Build the console of an app that declares no pipelines; see `create_console`.

    Args:
        breaker: the circuit.
        settings: the console's settings.
        dependencies: see `PipelineParts`.
        coordination: see `PipelineParts`.
        queue_coordination: see `PipelineParts`.
        backplane: see `PipelineParts`.
        vitals: see `PipelineParts`.
        watch: see `PipelineParts`.
        app_settings: see `PipelineParts`.
    """
    parts = PipelineParts(
        breaker=breaker,
        dependencies=dependencies,
        coordination=coordination or MemoryCoordination(),
        queue_coordination=queue_coordination,
        backplane=backplane,
        vitals=vitals,
        watch=watch,
        app_settings=app_settings or {},
    )
    return create_console([parts], settings)


def create_console(
    parts: Sequence[PipelineParts],
    settings: ConsoleSettings,
    *,
    coordination: Coordination | None = None,
    close: Callable[[], Awaitable[None]] | None = None,
) -> Starlette:
    """Build the app; its lifespan starts and closes the circuits and the background tasks.

    Args:
        parts: the parts of each pipeline.
        settings: the console's settings.
        coordination: what all pipelines share: logins, open pages, the one rewind at a time; None:
            that of the first pipeline.
        close: called at the end; closes the clients of coordination, backplanes and vitals.
    """
    shared = coordination or parts[0].coordination or MemoryCoordination()
    sessions, revoked = Sessions(settings.token), RevokedSessions(shared)
    instance, sockets = instance_name(), OpenSockets(settings.sockets_max)
    pipelines: list[PipelineConsole] = []

    def last_rewind() -> dict[str, Any] | None:
        """Return the rewind that has stopped the app and has not ended."""
        for each in pipelines:
            last = each.fanout.snapshot.rewind
            if last is not None and not last["done"] and last["stopped_at"] is not None:
                return last
        return None

    pipelines += (
        PipelineConsole(
            each,
            settings,
            instance=instance,
            revoked=revoked,
            sockets=sockets,
            shared=shared,
            last_rewind=last_rewind,
            others=[other.breaker for other in parts if other is not each],
        )
        for each in parts
    )
    declared = [each for each in pipelines if each.declared]
    rows = PipelineRows(declared)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as opened:
            if close is not None:
                opened.push_async_callback(close)
            opened.push_async_callback(_close, pipelines)  # before their client
            await revoked.load()
            async with asyncio.TaskGroup() as group:  # without Redis each needs some seconds
                for each in pipelines:
                    group.create_task(each.start())
            running = start(revoked=revoked.follow)
            if declared:
                running += start(pipelines=rows.feed)
            try:
                yield
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    async def healthz(_: Request) -> ApiResponse:
        degraded = any(each.breaker.circuit.degraded for each in pipelines)
        return ApiResponse(
            {"status": "degraded" if degraded else "ok"}, status_code=503 if degraded else 200
        )

    return Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            *Login(
                *(settings, sessions, revoked, shared, pipelines[0].breaker.name),
                pipelines=[(each.name, each.breaker.name) for each in declared],
            ).routes(),
            *ApprovalsApi(AllCircuits([each.circuits for each in pipelines]), settings).routes(),
            *PipelineRouting(pipelines, rows).routes(),
            *page_routes(),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(Auth, settings=settings, sessions=sessions, revoked=revoked),
        ],
        exception_handlers=ERRORS,
        lifespan=lifespan,
    )


async def _close(pipelines: Sequence[PipelineConsole]) -> None:
    await asyncio.gather(*(each.aclose() for each in pipelines))


def instance_name() -> str:
    """Return this instance's name, which the page shows."""
    return f"{socket.gethostname()}:{os.getpid()}"
