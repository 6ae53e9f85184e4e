"""A fleet of instances with real processors, whose partitions deliver batches as the host does."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.metrics import NoOpMeter

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from breaker.state import CircuitState
from processing.batch.processor import BatchProcessor
from processing.errors import DependencyUnavailableError, PoisonEventError, ProcessingError
from processing.event import Event, EventBatch
from processing.handlers.loading import LoadedHandler
from processing.identity import Source
from processing.parking.batch import Parking
from processing.parking.memory import MemoryParkingStore
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.progress.memory import MemoryProgressStore
from processing.settings import ProcessingSettings
from tests.support.jumping_loop import START, LoopClock
from tests.support.processing.events import IDENTITY, event

BATCH = 100
REDELIVERY_SECONDS = 1.0
TIMER_SECONDS = 10.0
"""The interval of the timer that replays deferred keys of silent partitions."""
HANDLER_SECONDS = 60.0


class DownError(DependencyUnavailableError):
    """The error of a dependency that is down."""


@dataclass
class Downstream:
    """The called service.

    Attributes:
        seconds: returns the duration of a call that succeeds.
        down_seconds: returns the duration of a call that fails.
        down_from: the time at which the service is down for all keys; None: never.
        down_until: the time at which the service is back; None: never.
        bad_keys: the keys whose calls always fail.
    """

    seconds: Callable[[], float] = lambda: 0.05
    down_seconds: Callable[[], float] = lambda: 0.002
    down_from: float | None = None
    down_until: float | None = None
    bad_keys: frozenset[str | None] = frozenset()

    def is_down(self, key: str | None, now: float) -> bool:
        """Return whether a call for a key fails now."""
        away = self.down_from is not None and self.down_from <= now
        back = self.down_until is not None and self.down_until <= now
        return key in self.bad_keys or (away and not back)


@dataclass(eq=False)
class Partition:
    """One partition: its events, the checkpoint, and the task that delivers batches."""

    source: Source
    events: list[Event] = field(default_factory=list)
    checkpoint: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    owner: Instance | None = None
    delivering: asyncio.Task[None] | None = None
    tenure: int = 0


@dataclass(eq=False)
class Instance:
    """One instance: a processor with its own circuit breaker, and the timer of the replays."""

    name: str
    breaker: CircuitBreaker
    processor: BatchProcessor
    timer: asyncio.Task[None]
    opened: AsyncExitStack


class Fleet:
    """Some instances, and the partitions that they share.

    Args:
        downstream: the called service.
        partitions: the number of partitions.
        seed: decides about durations and places.
        processing: settings of processing that differ from the defaults.

    Attributes:
        handled: the events in the order in which the handler finished them, by key.
        attempts: the number of the handler's calls.
        longest_pause: the longest time between two handled events, in seconds.
    """

    def __init__(
        self,
        downstream: Downstream,
        *,
        partitions: int = 1,
        seed: int = 0,
        processing: dict[str, Any] | None = None,
    ) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - must be reproducible
        self.downstream = downstream
        self.clock = LoopClock()
        self.rules = BreakerSettings()
        self.store = MemoryCircuitStore(self.rules.name, now_us=self.clock.now_us)
        self.progress = MemoryProgressStore()
        self.lists = MemoryParkingStore(self.progress, clock=self.clock.time)
        self.poison = MemoryPoisonQueue()
        self.settings = ProcessingSettings(**(processing or {}))
        self.instances: list[Instance] = []
        self.partitions = [Partition(Source(IDENTITY, str(number))) for number in range(partitions)]
        self.handled: dict[str | None, list[int]] = defaultdict(list)
        self.attempts = 0
        self.longest_pause = 0.0
        self._handled_at = 0.0
        self._sent: dict[str | None, int] = defaultdict(int)
        self._left: set[asyncio.Task[None]] = set()

    @property
    def now(self) -> float:
        """The simulated seconds since the beginning."""
        return self.clock.monotonic()

    async def start_instance(self) -> Instance:
        """Start an instance that owns no partition yet."""
        opened = AsyncExitStack()
        name = f"instance:{len(self.instances)}"
        breaker = CircuitBreaker(
            self.store, self.rules, clock=self.clock, instance=name, meter=NoOpMeter("simulation")
        )
        await opened.enter_async_context(breaker)
        processor = BatchProcessor(
            LoadedHandler("tests:handler", self._handle, timeout_seconds=HANDLER_SECONDS),
            breaker=breaker,
            progress=self.progress,
            poison=self.poison,
            parking=Parking(self.lists, MemoryClaimChecks()),
            settings=self.settings,
            instance=name,
        )
        # The policy took the clock when its module was loaded, before the time was simulated.
        processor.parts.retry._clock = self.clock.time
        timer = asyncio.create_task(self._replay_deferred(processor))
        instance = Instance(name, breaker, processor, timer, opened)
        self.instances.append(instance)
        return instance

    async def stop_instance(self, instance: Instance) -> None:
        """Stop an instance as a deployment does, with all its batches."""
        instance.processor.stop()
        instance.timer.cancel()
        for partition in self.partitions:
            if partition.owner is instance and partition.delivering is not None:
                partition.owner = None
                partition.delivering.cancel()
        await instance.processor.wait_idle()
        await asyncio.wait({instance.timer})
        await instance.opened.aclose()
        self.instances.remove(instance)

    def give(self, partition: Partition, instance: Instance) -> None:
        """Give a partition to an instance; an earlier owner's batch runs on until it notices."""
        if partition.owner is instance:
            return
        if partition.delivering is not None:
            self._left.add(partition.delivering)
        partition.owner = instance
        partition.tenure += 1
        deliver = self._deliver(partition, instance, partition.tenure)
        partition.delivering = asyncio.create_task(deliver)

    def share(self) -> None:
        """Give all partitions to the instances in turn."""
        for number, partition in enumerate(self.partitions):
            self.give(partition, self.instances[number % len(self.instances)])

    def send(self, key: str | None, partition: Partition | None = None) -> None:
        """Let an event of a key arrive now."""
        if partition is None:
            number = zlib.crc32((key or "").encode()) % len(self.partitions)
            partition = self.partitions[number]
        self._sent[key] += 1
        sequence = len(partition.events)
        partition.events.append(
            event(
                sequence,
                key,
                source=partition.source,
                enqueued_ms=int((START + self.now) * 1000),
                properties={"counter": self._sent[key]},
            )
        )
        partition.arrived.set()

    async def opened_at(self) -> float | None:
        """Return the simulated time of the opening, if the circuit is open."""
        found = await self.store.snapshot(self.rules.rules("observer"))
        if found.circuit.state is not CircuitState.OPEN or found.circuit.opened_at is None:
            return None
        return found.circuit.opened_at - START

    async def problem(self) -> str | None:
        """Return what is wrong in a run in which the circuit must stay closed; None if nothing."""
        found = await self.store.snapshot(self.rules.rules("observer"))
        if found.circuit.generation:
            return f"the circuit opened: {found.circuit.reason}"
        for key, counters in self.handled.items():
            if counters != sorted(set(counters)):
                return f"key {key}: the counters {counters} are not in order"
        return None

    def missing(self, keys: Sequence[str | None]) -> int:
        """Return the number of unhandled events of some keys."""
        return sum(self._sent[key] - len(set(self.handled[key])) for key in keys)

    async def close(self) -> None:
        """Stop everything."""
        for instance in list(self.instances):
            instance.processor.stop()
            instance.timer.cancel()
        tasks = {each.delivering for each in self.partitions if each.delivering} | self._left
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for instance in list(self.instances):
            with suppress(asyncio.CancelledError):
                await instance.timer
            await instance.processor.wait_idle()
            await instance.opened.aclose()

    async def _handle(self, each: Event) -> None:
        self.attempts += 1
        if each.properties.get("poison"):
            raise PoisonEventError("bad")
        if self.downstream.is_down(each.key, self.now):
            await asyncio.sleep(self.downstream.down_seconds())
            raise DownError("down")
        await asyncio.sleep(self.downstream.seconds())
        self.longest_pause = max(self.longest_pause, self.now - self._handled_at)
        self._handled_at = self.now
        counter = each.properties["counter"]
        if counter not in self.handled[each.key]:  # an atomic sink, as the ledger
            self.handled[each.key].append(counter)

    async def _deliver(self, partition: Partition, instance: Instance, tenure: int) -> None:
        """Deliver batches from the checkpoint on; a batch that raises is delivered again."""
        position = partition.checkpoint
        while partition.tenure == tenure:
            events = partition.events[position : position + BATCH]
            if not events:
                partition.arrived.clear()
                await partition.arrived.wait()
                continue
            try:
                await instance.processor.process(EventBatch(partition.source, events))
            except ProcessingError:
                if partition.tenure == tenure:
                    await asyncio.sleep(REDELIVERY_SECONDS)
                continue
            position += len(events)
            if partition.tenure == tenure:
                partition.checkpoint = position

    async def _replay_deferred(self, processor: BatchProcessor) -> None:
        while True:
            await asyncio.sleep(TIMER_SECONDS)
            await processor.replayer.run_due(TIMER_SECONDS / 2)


def names(count: int, prefix: str = "key") -> tuple[str, ...]:
    """Return the names of some keys."""
    return tuple(f"{prefix}-{number}" for number in range(count))


@asynccontextmanager
async def running_fleet(fleet: Fleet, instances: int = 1) -> AsyncIterator[Fleet]:
    """Run a fleet whose instances share the partitions."""
    for _ in range(instances):
        await fleet.start_instance()
    fleet.share()
    try:
        yield fleet
    finally:
        await fleet.close()
