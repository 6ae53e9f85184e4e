"""Watermark, group commit and ownership of a batch's progress."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from processing.errors import OwnershipLostError, StorageUnavailableError
from processing.progress.group_commit import BatchProgress
from processing.progress.store import Mark, Progress
from processing.settings import ProgressMode
from tests.support.processing.events import event


def mark(sequence_number: int) -> Mark:
    return Mark(sequence_number, event(sequence_number).enqueued_ms)


class Commits(list[tuple[Mark | None, list[Mark]]]):
    """A commit function that records its calls and waits for its gate, if there is one."""

    gate: asyncio.Event | None = None

    owner = True

    async def __call__(self, watermark: Mark | None, finished: Sequence[Mark]) -> bool:
        self.append((watermark, list(finished)))
        if self.gate is not None:
            await self.gate.wait()
        return self.owner


def test_finished_events_match_by_number_and_enqueued_time() -> None:
    """Events at or below the watermark are finished, and recorded events above it."""
    events = [event(n) for n in (4, 5, 6, 7)]
    progress = Progress(mark(5), {7: event(7).enqueued_ms})
    assert progress.finished_among(events) == [events[0], events[1], events[3]]
    assert not progress.finished_among([event(7, enqueued_ms=1)])
    assert Progress(None, progress.finished).finished_among(events) == [events[3]]


async def test_watermark_rises_over_finished_events_without_a_gap() -> None:
    """Finished events behind a gap are recorded one by one."""
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


async def test_events_that_finished_earlier_close_gaps() -> None:
    """The finished events of a redelivered batch count for the watermark."""
    commits = Commits()
    events = [event(n) for n in (1, 2, 3)]
    progress = BatchProgress(commits, events, [events[0], events[2]], "strict")
    await progress.finish(events[1])
    assert commits == [(mark(3), [])]


async def test_completions_during_a_write_share_the_next_write() -> None:
    """Ten completions need two writes."""
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


async def test_strict_mode_waits_for_the_commit_and_relaxed_mode_does_not() -> None:
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
async def test_failed_commit_is_raised_in_either_mode(mode: ProgressMode) -> None:
    """Strict mode raises from `finish` and `flush`, relaxed mode from `flush` alone."""

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
async def test_completions_after_a_failed_commit_are_written(mode: ProgressMode) -> None:
    """The next write includes those of the failed write.

    A store that is available again then has these completions when the batch is redelivered.
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
async def test_stale_owner_finishes_no_further_event(mode: ProgressMode) -> None:
    """Each lane fails at its next completion once another instance owns the partition."""
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
