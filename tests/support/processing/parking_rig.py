"""Processors and redrives on shared in-memory stores, with a handler that records its events."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from processing.batch.processor import BatchProcessor
from processing.errors import PoisonEventError
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.handlers.retry import RetryPolicy
from processing.parking.batch import Parking
from processing.parking.memory import MemoryParkingStore
from processing.parking.store import EntryKind
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue, MemoryPoisonReader
from processing.progress.memory import MemoryProgressStore
from processing.redrive.redrive import Redrive
from processing.settings import ProcessingSettings
from tests.support.processing.events import IDENTITY, SOURCE, event

FAST: dict[str, Any] = {
    "retry_initial_seconds": 0.0,
    "retry_max_seconds": 0.0,
    "dependency_pause_seconds": 0.0,
    "hold_seconds": 0.0,
    "max_attempts": 1,
    "deferred_events_max": 0,
    "poison_ordering": "park",
}

type Behaviour = Callable[[Event], Awaitable[None]]


class Rig:
    """In-memory stores, and a handler that refuses events in `bad` and records the others.

    Attributes:
        handled: sequence numbers in the order in which the handler took them.
        bad: sequence numbers of events that are poison while they are in this set.
        before: awaited with each event before the event is handled.
    """

    def __init__(self, breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        self.claims = MemoryClaimChecks()
        self.poison = MemoryPoisonQueue(self.claims)
        self.reader = MemoryPoisonReader(self.poison)
        self.progress = MemoryProgressStore()
        self.store = MemoryParkingStore(self.progress)
        self.parking = Parking(self.store, self.claims)
        self.handled: list[int] = []
        self.events: dict[int, Event] = {}
        self.bad: set[int] = set()
        self.before: Behaviour | None = None
        self.in_flight: dict[str | None, int] = defaultdict(int)
        self.most_in_flight = 0
        self.handler = LoadedHandler("tests:handler", self._handle)

    async def _handle(self, each: Event) -> None:
        self.in_flight[each.key] += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight[each.key])
        try:
            if self.before is not None:
                await self.before(each)
            if each.sequence_number in self.bad:
                raise PoisonEventError("bad")
        finally:
            self.in_flight[each.key] -= 1
        self.handled.append(each.sequence_number)
        self.events[each.sequence_number] = each

    def processor(self, **settings: Any) -> BatchProcessor:
        """Return another instance of the app."""
        return BatchProcessor(
            self.handler,
            breaker=self.breaker,
            progress=self.progress,
            poison=self.poison,
            parking=self.parking,
            settings=ProcessingSettings(**(FAST | settings)),
            count_poison=False,
            instance="test:1",
        )

    def redrive(self, **options: Any) -> Redrive:
        """Return another operator's redrive."""
        retry = RetryPolicy(max_attempts=1, initial_seconds=0, max_seconds=0)
        parts: dict[str, Any] = {
            "own": IDENTITY,
            "reader": self.reader,
            "poison": self.poison,
            "parking": self.parking,
            "handler": self.handler,
            "retry": retry,
            "instance": "test:op",
        }
        return Redrive(**(parts | options))

    @property
    def poisoned(self) -> list[int]:
        """Sequence numbers in the poison queue."""
        return sorted({message.sequence_number for message in self.poison.messages})

    async def parked(self, *kinds: EntryKind) -> list[int]:
        """Return the sequence numbers in the parked lists, of these kinds or of all kinds."""
        found: list[int] = []
        for key in await self.store.keys():
            entries = await self.store.entries(key.source, key.key, most=10_000)
            found += [
                int(entry.position.rpartition(":")[2])
                for entry in entries
                if not kinds or entry.kind in kinds
            ]
        return sorted(found)


@asynccontextmanager
async def open_rig(**breaker_settings: Any) -> AsyncIterator[Rig]:
    rules = BreakerSettings(count_poison=False, **breaker_settings)
    async with CircuitBreaker(MemoryCircuitStore(rules.name), rules) as breaker:
        yield Rig(breaker)


def keyed(*keys: str | None, first: int = 0) -> list[Event]:
    """Return events with these keys and rising sequence numbers."""
    return [event(first + index, key) for index, key in enumerate(keys)]


def of_key(handled: Sequence[int], events: Sequence[Event], key: str | None) -> list[int]:
    """Return the handled sequence numbers that belong to the key."""
    keys = {each.sequence_number: each.key for each in events}
    return [number for number in handled if keys[number] == key]


async def turns(count: int) -> None:
    """Let other tasks run for so many turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


__all__ = ["SOURCE", "Rig", "keyed", "of_key", "open_rig", "turns"]
