"""The part of the console for one pipeline: its API, its feeds and its background tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from starlette.routing import BaseRoute

from breaker import CircuitBreaker, SystemClock
from console.access.revoked_sessions import RevokedSessions
from console.background import start
from console.backplane.coordination import Coordination, MemoryCoordination
from console.backplane.stream import MemoryBackplane
from console.circuit.actions import ActionsApi
from console.circuit.alert_delivery import deliver_remaining_alerts
from console.circuit.circuits import Circuits
from console.circuit.site import SiteApi
from console.live.circuit_feed import feed_circuit
from console.live.dependency_feed import feed_dependencies
from console.live.fanout import Fanout
from console.live.incident_log import IncidentLog
from console.live.presence import Presence
from console.live.websocket import Live, OpenSockets
from console.pipelines.parts import PipelineParts
from console.poison.api import PoisonApi
from console.poison.catalogue import Catalogue
from console.poison.lazy_operations import LazyOperations
from console.poison.redrive import RedriveApi
from console.reader.election import Election
from console.reader.site import SiteTask
from console.reader.tasks import ReaderTasks
from console.reader.vitals import NoVitals
from console.rewind.api import RewindApi
from console.rewind.lost import LostRewinds
from console.settings import ConsoleSettings
from processing.site.watch import SiteWatch


class PipelineConsole:
    """The console of one pipeline, which shares the login and the open pages with the others.

    Args:
        parts: the pipeline's parts.
        settings: the console's settings.
        instance: the name of this instance, shown on the page.
        revoked: sessions that were logged out before they expired.
        sockets: the live connections of this instance, over all pipelines.
        shared: the coordination of all pipelines of the app.
        last_rewind: returns the message about a rewind, of any pipeline, that has not ended and has
            stopped the app.
        others: the circuits of the other pipelines, which stop and start with the app.

    Attributes:
        name: the pipeline's name.
        declared: whether PIPELINES names the pipeline.
        breaker: the circuit.
        circuits: the circuits of the pipeline and of its dependencies.
        coordination: the pipeline's own leases, marks and counters.
        fanout: the messages and the state for the browsers of this instance.
        actions: the operators' actions on the circuits.
    """

    def __init__(
        self,
        parts: PipelineParts,
        settings: ConsoleSettings,
        *,
        instance: str,
        revoked: RevokedSessions,
        sockets: OpenSockets,
        shared: Coordination,
        last_rewind: Callable[[], dict[str, Any] | None],
        others: Sequence[CircuitBreaker] = (),
    ) -> None:
        self.name, self.declared, self.breaker = parts.name, parts.declared, parts.breaker
        self.circuits = Circuits(parts.breaker, parts.dependencies)
        self.coordination = parts.coordination or MemoryCoordination()
        self._dependencies = parts.dependencies
        self._settings = settings
        self._opened = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        backplane = parts.backplane or MemoryBackplane(self.coordination)
        watch = parts.watch or SiteWatch(parts.breaker, None, None)
        self.fanout = Fanout(backplane, instance=instance)
        self._presence = Presence(self.coordination, shared)
        log = IncidentLog(backplane)
        self._operations = LazyOperations(parts.app_settings)
        self._catalogue = Catalogue(self._operations.poison)
        self._redrive = RedriveApi(
            *(self._operations, self.coordination, backplane, log),
            catalogue=self._catalogue,
            queue=parts.queue_coordination,
        )
        # A rewind stops the app, and so every pipeline: only one runs at a time.
        self._rewind = RewindApi(
            *(self._operations, parts.breaker, watch),
            coordination=shared,
            backplane=backplane,
            log=log,
            last=last_rewind,
            others=others,
        )
        tasks = ReaderTasks(
            self.coordination,
            self.fanout,
            parts.vitals or NoVitals(),
            self._operations,
            settings,
            catalogue=self._catalogue,
            breaker=parts.breaker,
            dependencies=lambda: self.circuits.dependencies,
            shared=shared,
        )
        self._election = Election(
            self.coordination,
            backplane,
            (
                *(tasks.vitals, tasks.partitions, tasks.tail, tasks.lost_redrives),
                SiteTask(self.coordination, watch).run,
                LostRewinds(shared, self.fanout, parts.breaker, watch, others=others).run,
            ),
        )
        self.actions = ActionsApi(self.circuits, log)
        self._apis = (
            self.actions,
            SiteApi(parts.breaker, watch, log, others),
            PoisonApi(self._operations, self._catalogue),
            self._redrive,
            self._rewind,
            Live(self.fanout, self._presence, revoked, sockets=sockets),
        )

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the pipeline's API and of its live connection."""
        return [route for api in self._apis for route in api.routes()]

    async def start(self) -> None:
        """Start the circuits and the background tasks."""
        await self._opened.enter_async_context(self.breaker)
        if self._dependencies is not None:
            await self._opened.enter_async_context(self._dependencies)
        self._tasks = self._start_tasks()

    async def aclose(self) -> None:
        """End the running jobs and the background tasks, and close the circuits."""
        async with self._opened:
            await asyncio.gather(self._redrive.aclose(), self._rewind.aclose())
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(self._catalogue.aclose(), *self._tasks, return_exceptions=True)
            await self._operations.aclose()

    def _start_tasks(self) -> list[asyncio.Task[None]]:
        every, repeat = self._settings.delivery_seconds, self._settings.repeat_seconds
        return start(
            delivery=lambda: deliver_remaining_alerts(self.circuits, SystemClock(), every, repeat),
            fanout=self.fanout.run,
            beat=self.fanout.beat,
            circuit=lambda: feed_circuit(self.breaker, self.fanout),
            dependencies=lambda: feed_dependencies(lambda: self.circuits.dependencies, self.fanout),
            presence=self._presence.announce,
            election=self._election.run,
        )
