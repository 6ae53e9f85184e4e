"""The time limit ends what hangs, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from processing.handlers.time_limit import TimeLimit


async def for_ever(item: str) -> None:
    await asyncio.Event().wait()


async def at_once(item: str) -> None:
    pass


async def test_what_hangs_is_cancelled_and_has_timed_out() -> None:
    """The task itself goes on uncancelled: its lane retries the event."""
    limit = TimeLimit(0.001)
    with pytest.raises(TimeoutError, match=r"the handler took longer than 0\.001 s"):
        await limit.limited(for_ever)("a")
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_the_limit_is_not_cut_short() -> None:
    """A call is given the whole limit, whenever the timer happens to look."""
    loop = asyncio.get_running_loop()
    limit = TimeLimit(0.02)
    blocker = asyncio.ensure_future(_ended(limit))
    for _ in range(3):
        began = loop.time()
        with pytest.raises(TimeoutError):
            await limit.limited(for_ever)("a")
        assert loop.time() - began >= 0.02 - 1e-3  # the timer may fire within its resolution
    await blocker


async def _ended(limit: TimeLimit) -> None:
    with pytest.raises(TimeoutError):
        await limit.limited(for_ever)("b")


async def test_others_are_left_alone() -> None:
    """Each task has its own time; those that finish are not touched."""
    limit = TimeLimit(0.001)
    hanging = [asyncio.ensure_future(_ended(limit)) for _ in range(3)]
    while not all(task.done() for task in hanging):
        await limit.limited(at_once)("short")
        await asyncio.sleep(0)
    await asyncio.gather(*hanging)


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Stopping a task is not a timeout of its handler."""
    limit = TimeLimit(60)
    task = asyncio.ensure_future(limit.limited(for_ever)("a"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_cancellation_from_outside_wins_over_the_limit() -> None:
    """Whoever cancels at the same moment must not be overruled by a retry."""
    limit = TimeLimit(0.001)

    async def cancelled_again(item: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            raise

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(limit.limited(cancelled_again)("a"))


async def test_a_call_that_finishes_in_spite_of_the_limit_has_succeeded() -> None:
    """A handler that must not be torn apart may take its time; it was done, so it counts."""
    limit = TimeLimit(0.001)

    async def stubborn(item: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)

    await limit.limited(stubborn)("a")
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_call_that_goes_on_is_told_of_again_and_again() -> None:
    """It is cancelled once only, so that what it does in order to end is not torn apart."""
    told: list[tuple[str, float, bool]] = []
    release = asyncio.Event()
    cancelled = 0
    limit = TimeLimit(0.001, lambda *late: told.append(late))

    async def deaf(_item: str) -> None:
        nonlocal cancelled
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                cancelled += 1
                if cancelled > 2:
                    raise

    call = asyncio.ensure_future(limit.limited(deaf)("a"))
    try:
        async with asyncio.timeout(10):
            while len(told) < 3:
                await asyncio.sleep(0)
        assert not call.done()
    finally:
        release.set()
    await call
    assert cancelled == 1
    assert [(item, round(seconds, 6), ended) for item, seconds, ended in told[:3]] == [
        ("a", 0.002, False),
        ("a", 0.003, False),
        ("a", 0.004, False),
    ]
    assert (told[-1][0], told[-1][2]) == ("a", True)
    assert call.cancelling() == 0


async def test_who_ends_in_time_or_as_it_is_told_is_not_told_of() -> None:
    told: list[object] = []
    limit = TimeLimit(0.001, lambda *late: told.append(late))
    await limit.limited(at_once)("a")
    await _ended(limit)
    await asyncio.sleep(0.01)
    assert told == []


async def test_what_the_call_raises_itself_is_passed_on() -> None:
    limit = TimeLimit(60)

    async def failing(item: str) -> None:
        raise LookupError(item)

    with pytest.raises(LookupError, match="a"):
        await limit.limited(failing)("a")


def test_it_keeps_watch_on_whatever_loop_it_is_used() -> None:
    """A loop that ended with the timer running must not leave the next one without."""
    limit = TimeLimit(0.001)

    async def short() -> None:
        await limit.limited(at_once)("a")

    asyncio.run(short())
    asyncio.run(_ended(limit))
