"""Composition root of the console, an ASGI app."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route

from breaker import CircuitBreaker, DependencyCircuits, SystemClock
from console.access.auth import Auth
from console.access.login import Login
from console.access.revoked_sessions import RevokedSessions
from console.access.session import Sessions
from console.background import start
from console.backplane.coordination import Coordination, MemoryCoordination
from console.backplane.stream import Backplane, MemoryBackplane
from console.circuit.actions import ActionsApi
from console.circuit.alert_delivery import deliver_remaining_alerts
from console.circuit.approvals import ApprovalsApi
from console.circuit.circuits import Circuits
from console.circuit.site import SiteApi
from console.live.circuit_feed import feed_circuit
from console.live.dependency_feed import feed_dependencies
from console.live.fanout import Fanout
from console.live.incident_log import IncidentLog
from console.live.presence import Presence
from console.live.websocket import Live
from console.poison.api import PoisonApi
from console.poison.catalogue import Catalogue
from console.poison.lazy_operations import LazyOperations
from console.poison.redrive import RedriveApi
from console.reader.election import Election
from console.reader.site import SiteTask
from console.reader.tasks import ReaderTasks
from console.reader.vitals import NoVitals, VitalsSource
from console.rewind.api import RewindApi
from console.rewind.lost import LostRewinds
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
    close: Callable[[], Awaitable[None]] | None = None,
) -> Starlette:
    """Build the app; its lifespan starts and closes the circuits and the background tasks.

    Args:
        breaker: the circuit.
        settings: the console's settings.
        dependencies: the circuits of the app's dependencies; default: none.
        coordination: shared by all instances; default: in memory, for a single instance.
        queue_coordination: shared by all consoles that show this poison queue, also by consoles of
            other apps; default: `coordination`.
        backplane: shared by all instances; default: in memory, for a single instance.
        vitals: source of the function app's vitals; default: none.
        watch: collects what is seen of the function app; default: the circuit's record alone.
        app_settings: the function app's settings, which name its hub, storage and handler.
        close: called at the end; closes the clients of coordination, backplane and vitals.
    """
    circuits = Circuits(breaker, dependencies)
    coordination = coordination or MemoryCoordination()
    backplane = backplane or MemoryBackplane(coordination)
    fanout = Fanout(backplane, instance=instance_name())
    presence = Presence(coordination)
    watch = watch or SiteWatch(breaker, None, None)
    sessions, revoked = Sessions(settings.token), RevokedSessions(coordination)
    log = IncidentLog(backplane)
    operations = LazyOperations(app_settings or {})
    catalogue = Catalogue(operations.poison)
    redrive = RedriveApi(
        *(operations, coordination, backplane, log),
        catalogue=catalogue,
        queue=queue_coordination,
    )
    rewind = RewindApi(
        *(operations, breaker, watch),
        coordination=coordination,
        backplane=backplane,
        log=log,
        last=lambda: fanout.snapshot.rewind,
    )
    tasks = ReaderTasks(
        coordination,
        fanout,
        vitals or NoVitals(),
        operations,
        settings,
        catalogue=catalogue,
        breaker=breaker,
        dependencies=lambda: circuits.dependencies,
    )
    election = Election(
        coordination,
        backplane,
        (
            *(tasks.vitals, tasks.partitions, tasks.tail, tasks.lost_redrives),
            SiteTask(coordination, watch).run,
            LostRewinds(coordination, fanout, breaker, watch).run,
        ),
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as opened:
            if close is not None:
                opened.push_async_callback(close)
            await opened.enter_async_context(breaker)  # closes before its client
            if dependencies is not None:
                await opened.enter_async_context(dependencies)
            await revoked.load()
            running = start(
                revoked=revoked.follow,
                delivery=lambda: deliver_remaining_alerts(
                    circuits, SystemClock(), settings.delivery_seconds, settings.repeat_seconds
                ),
                fanout=fanout.run,
                beat=fanout.beat,
                circuit=lambda: feed_circuit(breaker, fanout),
                dependencies=lambda: feed_dependencies(lambda: circuits.dependencies, fanout),
                presence=presence.announce,
                election=election.run,
            )
            try:
                yield
            finally:
                await asyncio.gather(redrive.aclose(), rewind.aclose())
                for task in running:
                    task.cancel()
                await asyncio.gather(catalogue.aclose(), *running, return_exceptions=True)
                await operations.aclose()

    async def healthz(_: Request) -> ApiResponse:
        degraded = breaker.circuit.degraded
        return ApiResponse(
            {"status": "degraded" if degraded else "ok"}, status_code=503 if degraded else 200
        )

    return Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            *Login(settings, sessions, revoked, coordination, breaker.name).routes(),
            *ActionsApi(circuits, log).routes(),
            *ApprovalsApi(circuits, settings).routes(),
            *SiteApi(breaker, watch, log).routes(),
            *PoisonApi(operations, catalogue).routes(),
            *redrive.routes(),
            *rewind.routes(),
            *Live(fanout, presence, revoked, sockets_max=settings.sockets_max).routes(),
            *page_routes(),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(Auth, settings=settings, sessions=sessions, revoked=revoked),
        ],
        exception_handlers=ERRORS,
        lifespan=lifespan,
    )


def instance_name() -> str:
    """Return this instance's name, which the page shows."""
    return f"{socket.gethostname()}:{os.getpid()}"
