"""Progress: the watermark, group commit, and a hub that was made again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from processing.errors import OwnershipLostError, StorageUnavailableError
from processing.progress.group_commit import BatchProgress
from processing.progress.memory import MemoryProgressStore
from processing.progress.store import Mark, Progress, open_for
from processing.settings import ProgressMode
from tests.support.processing.events import SOURCE, batch, event


def mark(sequence_number: int) -> Mark:
    return Mark(sequence_number, event(sequence_number).enqueued_ms)


class Commits(list[tuple[Mark | None, list[Mark]]]):
    """Records commits; each waits until it is let through, if a gate is set."""

    gate: asyncio.Event | None = None

    owner = True

    async def __call__(self, watermark: Mark | None, finished: Sequence[Mark]) -> bool:
        self.append((watermark, list(finished)))
        if self.gate is not None:
            await self.gate.wait()
        return self.owner


def test_finished_among() -> None:
    """At or below the watermark, or remembered above it with the same enqueued time."""
    events = [event(n) for n in (4, 5, 6, 7)]
    progress = Progress(mark(5), {7: event(7).enqueued_ms})
    assert progress.finished_among(events) == [events[0], events[1], events[3]]
    assert not progress.finished_among([event(7, enqueued_ms=1)])
    assert Progress(None, progress.finished).finished_among(events) == [events[3]]


async def test_recreated_hub_starts_anew() -> None:
    """A number at or below the watermark with a later enqueued time resets progress."""
    store = MemoryProgressStore()
    await store.commit(SOURCE, 0, mark(5), [mark(8)])
    later = event(0, enqueued_ms=mark(5).enqueued_ms + 1)
    assert await open_for(store, batch([later])) == Progress(owner=2)
    assert await store.load(SOURCE) == Progress()


async def test_redelivery_is_not_a_recreated_hub() -> None:
    """The same events again, from a checkpoint that lags or was rewound, leave progress alone."""
    store = MemoryProgressStore()
    await store.commit(SOURCE, 0, mark(5), [])
    again = batch([event(4), event(5), event(6)])
    assert (await open_for(store, again)).watermark == mark(5)


async def test_watermark_follows_the_first_unfinished_event() -> None:
    """It rises over finished events without a gap; those above it are remembered one by one."""
    commits = Commits()
    events = [event(n) for n in (10, 11, 12, 20)]
    progress = BatchProgress(commits, events, [], "strict")
    await progress.finish(events[1])
    await progress.finish(events[3])
    await progress.finish(events[0])
    await progress.finish(events[2])
    assert commits == [
        (None, [mark(11)]),
        (None, [mark(20)]),
        (mark(11), []),
        (mark(20), []),
    ]


async def test_what_was_finished_before_counts() -> None:
    """A redelivered batch's finished events are part of the gapless run."""
    commits = Commits()
    events = [event(n) for n in (1, 2, 3)]
    progress = BatchProgress(commits, events, [events[0], events[2]], "strict")
    await progress.finish(events[1])
    assert commits == [(mark(3), [])]


async def test_group_commit() -> None:
    """What finishes while a write is under way goes into one next write."""
    commits = Commits()
    commits.gate = asyncio.Event()
    events = [event(n) for n in range(10)]
    progress = BatchProgress(commits, events, [], "strict")
    first = asyncio.create_task(progress.finish(events[0]))
    while not commits:
        await asyncio.sleep(0)
    others = [asyncio.create_task(progress.finish(each)) for each in events[1:]]
    await asyncio.sleep(0)
    assert not first.done()
    commits.gate.set()
    await asyncio.gather(first, *others)
    assert [watermark for watermark, _ in commits] == [mark(0), mark(9)]


async def test_strict_waits_for_the_commit_and_relaxed_does_not() -> None:
    """In strict mode an event's completion is durable when `finish` returns."""
    modes: list[tuple[ProgressMode, bool]] = [("strict", False), ("relaxed", True)]
    for mode, done in modes:
        commits = Commits()
        commits.gate = asyncio.Event()
        progress = BatchProgress(commits, [event(0)], [], mode)
        finishing = asyncio.create_task(progress.finish(event(0)))
        while not commits:
            await asyncio.sleep(0)
        assert finishing.done() is done
        commits.gate.set()
        await finishing
        await progress.flush()


@pytest.mark.parametrize("mode", ["strict", "relaxed"])
async def test_a_failed_commit_is_raised(mode: ProgressMode) -> None:
    """A write that failed for good reaches the batch in either mode."""

    async def failing(_watermark: Mark | None, _finished: Sequence[Mark]) -> bool:
        raise StorageUnavailableError("gone")

    progress = BatchProgress(failing, [event(0)], [], mode)
    if mode == "strict":
        with pytest.raises(StorageUnavailableError):
            await progress.finish(event(0))
    else:
        await progress.finish(event(0))
    with pytest.raises(StorageUnavailableError, match="gone"):
        await progress.flush()


@pytest.mark.parametrize("mode", ["strict", "relaxed"])
async def test_what_was_in_flight_when_a_commit_failed(mode: ProgressMode) -> None:
    """Its completion is written all the same, with those of the failed write, so that a store that
    is back by then knows them when the batch comes again.
    """
    written: set[int] = set()
    down = True

    async def commit(_watermark: Mark | None, finished: Sequence[Mark]) -> bool:
        if down:
            raise StorageUnavailableError("gone")
        written.update(each.sequence_number for each in finished)
        return True

    events = [event(n) for n in range(4)]
    progress = BatchProgress(commit, events, [], mode)
    await asyncio.gather(progress.finish(events[2]), return_exceptions=True)
    with pytest.raises(StorageUnavailableError):
        await progress.flush()
    down = False
    with pytest.raises(StorageUnavailableError):
        await progress.finish(events[3])
    with pytest.raises(StorageUnavailableError):
        await progress.flush()
    assert written == {2, 3}


@pytest.mark.parametrize("mode", ["strict", "relaxed"])
async def test_a_stale_owner_stops(mode: ProgressMode) -> None:
    """Once another instance owns the partition, no lane gets past its next completion."""
    commits = Commits()
    commits.owner = False
    events = [event(0), event(1)]
    progress = BatchProgress(commits, events, [], mode)
    if mode == "strict":
        with pytest.raises(OwnershipLostError):
            await progress.finish(events[0])
    else:
        await progress.finish(events[0])
        with pytest.raises(OwnershipLostError):
            await progress.flush()
    with pytest.raises(OwnershipLostError):
        await progress.finish(events[1])
