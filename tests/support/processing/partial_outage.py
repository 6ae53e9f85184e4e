"""One partition's events over time while dependencies are down: batches, the timer and a record."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from breaker import BreakerError
from processing.batch.processor import BatchProcessor
from processing.dependencies import dependency
from processing.errors import DependencyUnavailableError, ProcessingError
from processing.event import Event
from processing.identity import Source
from tests.support.processing.events import SOURCE, batch, event


class Downstream:
    """A handler that calls the dependencies which an event's key names: `bank+mail:k1`.

    Attributes:
        down: names of the dependencies that are down.
        dead: keys whose calls fail although their dependency is up.
        handled: sequence numbers and times of the handled events.
        calls: number of calls by dependency.
    """

    def __init__(self, seconds: float = 0.001) -> None:
        self._seconds = seconds
        self.down: set[str] = set()
        self.dead: set[str] = set()
        self.handled: list[tuple[Event, float]] = []
        self.calls: defaultdict[str, int] = defaultdict(int)

    async def __call__(self, each: Event) -> None:
        names = str(each.key).split(":")[0]
        for name in names.split("+") if names else []:
            async with dependency(name):
                self.calls[name] += 1
                await asyncio.sleep(self._seconds)
                if name in self.down or each.key in self.dead:
                    raise DependencyUnavailableError(f"{name} is down")
        self.handled.append((each, asyncio.get_running_loop().time()))

    @property
    def numbers(self) -> list[int]:
        """Sequence numbers of the handled events."""
        return [each.sequence_number for each, _ in self.handled]

    def check_order(self) -> None:
        """Check that each event was handled once, and each key's events in order."""
        by_key: defaultdict[str | None, list[int]] = defaultdict(list)
        for each, _ in self.handled:
            by_key[each.key].append(each.sequence_number)
        for numbers in by_key.values():
            assert numbers == sorted(set(numbers))


class Partition:
    """A partition whose events a processor receives as they arrive.

    Args:
        processor: the processor.
        source: the partition.
        most: greatest number of events in a batch.
    """

    def __init__(
        self, processor: BatchProcessor, source: Source = SOURCE, *, most: int = 100
    ) -> None:
        self._processor = processor
        self._source = source
        self._most = most
        self._events: list[Event] = []
        self._arrived: list[float] = []
        self._done = 0
        self._more = asyncio.Event()

    @property
    def lag(self) -> int:
        """Number of events that no batch has finished."""
        return len(self._events) - self._done

    def send(self, keys: Sequence[str]) -> None:
        """Add one event for each key."""
        now = asyncio.get_running_loop().time()
        first = len(self._events)
        self._events += [
            event(first + number, key, source=self._source) for number, key in enumerate(keys)
        ]
        self._arrived += [now] * len(keys)
        self._more.set()

    def latest(self, handled: Sequence[tuple[Event, float]], name: str) -> float:
        """Return the longest delay of the events that need exactly these dependencies."""
        return max(
            at - self._arrived[each.sequence_number]
            for each, at in handled
            if str(each.key).split(":")[0] == name
        )

    async def run(self) -> None:
        """Process batches until the task is cancelled; a failed batch runs again."""
        while True:
            events = self._events[self._done : self._done + self._most]
            if not events:
                self._more.clear()
                await self._more.wait()
                continue
            try:
                await self._processor.process(batch(events, self._source))
            except (BreakerError, ProcessingError):
                await asyncio.sleep(0.05)
                continue
            self._done += len(events)

    async def replay(self, pause: float, seconds: float) -> None:
        """Run the timer of the replays until the task is cancelled."""
        while True:
            await asyncio.sleep(pause)
            await self._processor.replayer.run_due(seconds)


@asynccontextmanager
async def running(
    partition: Partition, *, pause: float = 5.0, seconds: float = 4.0
) -> AsyncIterator[None]:
    """Process a partition's batches and replays during the block."""
    tasks = [
        asyncio.create_task(partition.run()),
        asyncio.create_task(partition.replay(pause, seconds)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
