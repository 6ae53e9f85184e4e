"""One instance of the app: the real breaker, processor and replayer on stores behind a network."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.metrics import NoOpMeter

from breaker import BreakerSettings, CircuitBreaker
from processing.batch.processor import BatchProcessor
from processing.errors import ProcessingError
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.handlers.retry import RetryPolicy
from processing.monitoring.telemetry import Telemetry
from processing.parking.batch import Parking
from processing.redrive.redrive import Redrive
from processing.settings import ProcessingSettings
from tests.model.cluster import CONFIRMED
from tests.model.node import Node, Remote

if TYPE_CHECKING:
    from tests.model.world import World

REPLAY_SECONDS = 4.0
_METER = NoOpMeter("model")
_TELEMETRY = Telemetry(meter=_METER)


class LoopClock:
    """The clock of the event loop."""

    def monotonic(self) -> float:
        """Return the loop's time."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(seconds)


class Client:
    """A process with connections to the stores."""

    def __init__(self, world: World, name: str) -> None:
        plan = world.plan
        self.node = node = Node(name, world.rng, plan.network)
        cluster, storage = world.cluster, world.storage
        self.progress = cast("Any", Remote(node, cluster, cluster.progress))
        self.store = cast("Any", Remote(node, cluster, cluster.parking, CONFIRMED))
        self.poison = cast("Any", Remote(node, storage, world.queue))
        self.marks = cast("Any", Remote(node, storage, world.marks))
        self.parking = Parking(self.store, world.claims, world.marking(self.marks, self.store))

        async def handle(event: Event) -> None:
            await world.sink.handle(event, node)

        self.handler = LoadedHandler("tests:model", handle)


class Instance(Client):
    """One instance of the app.

    Attributes:
        last_error: the error of the last invocation that failed.
        stopping: the instance is shutting down.
    """

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._world = world
        self.stopping = False
        self.last_error: Exception | None = None
        self.breaker: CircuitBreaker
        self.processor: BatchProcessor
        self._opened = False

    async def open(self) -> None:
        """Start the instance; runs as a task of the instance."""
        world = self._world
        rules = BreakerSettings(**({"poll_seconds": 5.0} | world.plan.breaker))
        self.breaker = CircuitBreaker(
            world.circuit, rules, clock=LoopClock(), instance=self.node.name, meter=_METER
        )
        await self.breaker.start()
        self.processor = BatchProcessor(
            self.handler,
            breaker=self.breaker,
            progress=self.progress,
            poison=self.poison,
            parking=self.parking,
            settings=ProcessingSettings(**world.plan.settings),
            count_poison=False,
            instance=self.node.name,
            telemetry=_TELEMETRY,
        )
        self._opened = True
        self.node.start(self._replay_now_and_then())

    async def _replay_now_and_then(self) -> None:
        """Replay what is due, as the app's timer does."""
        while not self.stopping:
            await self.node.wait(self.node.rng.uniform(5, 15) * self._world.plan.tick)
            with suppress(ProcessingError):
                await self.processor.replayer.run_due(REPLAY_SECONDS)

    async def close(self) -> None:
        """Shut down as the app does; runs as a task of the instance."""
        self.stopping = True
        if not self._opened:
            return
        self.processor.stop()
        await self.processor.wait_idle()
        await self.breaker.aclose()


class Operator(Client):
    """An operator's command line."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.node.stumbles = False

    def redrive(self, world: World) -> Redrive:
        """Return a redrive."""
        return Redrive(
            own=world.identity,
            reader=cast("Any", Remote(self.node, world.storage, world.reader)),
            poison=self.poison,
            parking=self.parking,
            handler=self.handler,
            retry=RetryPolicy(max_attempts=1, initial_seconds=0, max_seconds=0),
            instance=self.node.name,
        )
