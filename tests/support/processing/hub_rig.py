"""A hub in memory that is appended to, recreated and shortened, and the checks against its ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from processing.batch.hub_ends import HubEnds
from processing.errors import StorageUnavailableError
from processing.event import Event
from processing.identity import Source
from processing.partitions.checkpoints import Checkpoint
from processing.partitions.gaps import GapStore, MemoryGapStore
from processing.partitions.hub_answers import HubAnswers
from processing.partitions.hub_range import HubRange
from processing.progress.store import ProgressStore
from tests.support.processing.events import event

START_MS = 1_700_000_000_000


class MemoryHub:
    """One partition of a hub, with its clock.

    Attributes:
        now_ms: the broker's clock, milliseconds since 1970; a test may set the clock back.
        created: the hub's time of creation, milliseconds since 1970.
        first: sequence number of the first retained event.
        asked: number of requests by kind.
        away: whether requests fail.
        answering: requests wait until this is set; the time of creation is that of the request.
    """

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.asked: Counter[str] = Counter()
        self.away = False
        self.answering = asyncio.Event()
        self.answering.set()
        self.recreate()

    def recreate(self) -> None:
        """Delete the hub, and create it again a second later."""
        self.now_ms += 1000
        self.created = self.now_ms
        self.events: list[Event] = []
        self.first = 0
        self.now_ms += 1000

    def append(self, count: int) -> list[Event]:
        """Enqueue events, one per millisecond, each with its own key."""
        start = len(self.events)
        for number in range(start, start + count):
            self.now_ms += 1
            self.events.append(event(number, f"k{number}", enqueued_ms=self.now_ms))
        return self.events[start:]

    def answer_new_requests(self) -> None:
        """Answer the requests that begin from now on; requests that hang continue to hang."""
        self.answering = asyncio.Event()
        self.answering.set()

    async def created_ms(self) -> int:
        created = self.created
        await self._answer("created")
        return created

    async def range(self, _partition: str) -> HubRange:
        await self._answer("range")
        return HubRange(self.first, len(self.events))

    async def _answer(self, kind: str) -> None:
        self.asked[kind] += 1
        await self.answering.wait()
        if self.away:
            raise StorageUnavailableError("event hub: away")


class HubRig:
    """The checks of one instance or more against one hub in memory.

    Attributes:
        checkpoints: the platform's checkpoints, by partition.
        expired: the numbers of expired events that instances have counted.
        seconds: the clock of the instances.
    """

    def __init__(self, progress: ProgressStore, gaps: GapStore | None = None) -> None:
        self.hub = MemoryHub()
        self.gaps = gaps or MemoryGapStore()
        self.progress = progress
        self.checkpoints: dict[str, Checkpoint] = {}
        self.expired: list[tuple[Source, int]] = []
        self.seconds = 0.0

    def ends(
        self,
        *,
        answer_seconds: float = 10.0,
        request_seconds: float = 60.0,
        pause_answer_seconds: float = 1.0,
    ) -> HubEnds:
        """Return the checks of a new instance."""

        async def checkpoint(partition: str) -> Checkpoint | None:
            self.hub.asked["checkpoint"] += 1
            return self.checkpoints.get(partition)

        clock: Callable[[], float] = lambda: self.seconds  # noqa: E731
        return HubEnds(
            HubAnswers(
                self.hub, seconds=answer_seconds, request_seconds=request_seconds, clock=clock
            ),
            progress=self.progress,
            gaps=self.gaps,
            checkpoint=checkpoint,
            expired=lambda source, count: self.expired.append((source, count)),
            pause_answer_seconds=pause_answer_seconds,
            clock=clock,
        )

    def checkpoint(self, number: int, partition: str = "0") -> None:
        """Write a checkpoint, as the platform does after a batch."""
        written_ms = self.hub.now_ms // 1000 * 1000
        self.checkpoints[partition] = Checkpoint(number, str(number * 100), written_ms)
