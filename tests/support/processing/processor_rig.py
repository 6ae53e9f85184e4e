"""A processor on in-memory parts, and the outcomes of its batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitState,
    DependencyCircuits,
    ManualClock,
    MemoryCircuitStore,
)
from breaker.clock import Clock, system_now_us
from processing.batch.hub_ends import HubEnds
from processing.batch.processor import BatchProcessor
from processing.batch.time_budget import TimeBudget
from processing.crashes.careful import CarefulMode
from processing.crashes.loops import CrashLoops
from processing.crashes.memory import MemoryCrashStore
from processing.crashes.store import CrashStore
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.parking.batch import Parking
from processing.parking.memory import MemoryParkingStore
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.progress.memory import MemoryProgressStore
from processing.settings import ProcessingSettings
from tests.support.processing.events import event

FAST = {
    "retry_initial_seconds": 0.0,
    "retry_max_seconds": 0.0,
    "dependency_pause_seconds": 0.0,
    "deferred_events_max": 0,
}


class Rig:
    """A processor on in-memory parts, with the events that it handled and poisoned."""

    def __init__(self, breaker: CircuitBreaker, progress: MemoryProgressStore) -> None:
        self.breaker = breaker
        self.poison = MemoryPoisonQueue()
        self.progress = progress
        self.store = MemoryParkingStore(progress)
        self.handled: list[int] = []
        self.ended: list[int] = []
        """Events whose handler had no memory left; a real process ends at the first one."""
        self.crashes: CrashLoops
        self.processor: BatchProcessor
        self.behaviour: Behaviour | None = None
        """Awaited in each call of the handler."""

    @property
    def poisoned(self) -> list[int]:
        return [message.sequence_number for message in self.poison.messages]


type Behaviour = Callable[[Event], Awaitable[None]]


@asynccontextmanager
async def open_rig(
    behaviour: Behaviour | None = None,
    *,
    settings: dict[str, Any] | None = None,
    breaker_settings: dict[str, Any] | None = None,
    progress: MemoryProgressStore | None = None,
    store: MemoryCircuitStore | None = None,
    clock: Clock | None = None,
    crash_store: Callable[[MemoryParkingStore], CrashStore] = MemoryCrashStore,
    dependencies: DependencyCircuits | None = None,
    budget: TimeBudget | None = None,
    ends: HubEnds | None = None,
    loaded: LoadedHandler | None = None,
    careful: CarefulMode | None = None,
) -> AsyncIterator[Rig]:
    """Open a processor on memory stores, by default without a ramp after closing.

    `loaded` is a handler that is called instead of `behaviour`; the first batch starts it.
    `careful` is the careful mode that the processor shares with others.
    """
    defaults = {"half_open_permits": 2, "ramp_seconds": 0}
    rules = BreakerSettings(**(defaults | (breaker_settings or {})))
    if store is None:
        now_us = clock.now_us if isinstance(clock, ManualClock) else system_now_us
        store = MemoryCircuitStore(rules.name, now_us=now_us)
    async with CircuitBreaker(store, rules, clock=clock) as breaker:
        rig = Rig(breaker, progress or MemoryProgressStore())
        rig.behaviour = behaviour

        async def handler(each: Event) -> None:
            if rig.behaviour is not None:
                await rig.behaviour(each)
            rig.handled.append(each.sequence_number)

        loaded = loaded or LoadedHandler("tests:handler", handler)
        processing = ProcessingSettings(**(FAST | (settings or {})))
        rig.crashes = CrashLoops(
            crash_store(rig.store),
            careful_after=processing.careful_after,
            hold_seconds=processing.hold_seconds,
            circuit=lambda: breaker.circuit,
            in_flight=lambda: loaded.in_flight,
            careful=careful,
            instance="test:1",
            end=lambda event, _error: rig.ended.append(event.sequence_number),
        )
        rig.processor = BatchProcessor(
            loaded,
            breaker=breaker,
            progress=rig.progress,
            poison=rig.poison,
            parking=Parking(rig.store, MemoryClaimChecks()),
            settings=processing,
            count_poison=rules.count_poison,
            instance="test:1",
            prepare=loaded.start,
            crashes=rig.crashes,
            dependencies=dependencies,
            budget=budget,
            ends=ends,
        )
        yield rig


def keyed(*keys: str | None) -> Sequence[Event]:
    return [event(index, key) for index, key in enumerate(keys)]


def in_order(events: Sequence[Event], handled: Sequence[int]) -> bool:
    """Return whether each key's events were handled in order."""
    keys = {each.sequence_number: each.key for each in events}
    lanes: dict[str | None, list[int]] = defaultdict(list)
    for number in handled:
        lanes[keys[number]].append(number)
    return all(lane == sorted(lane) for lane in lanes.values())


async def trip(breaker: CircuitBreaker) -> None:
    """Open the circuit."""
    for number in range(breaker.settings.failure_threshold):
        permit = await breaker.try_acquire()
        await breaker.record_failure(f"trip-{number}", "test", permit)
        if breaker.circuit.state is not CircuitState.CLOSED:
            return
