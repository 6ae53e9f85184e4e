"""Cancellation of calls that exceed the handler's time limit."""

from __future__ import annotations

import asyncio

import pytest

from processing.handlers.time_limit import TimeLimit


async def hang(item: str) -> None:
    await asyncio.Event().wait()


async def return_at_once(item: str) -> None:
    pass


async def test_hanging_call_is_cancelled_and_raises_timeout_error() -> None:
    """The task itself is not cancelled, so that its lane can retry the event."""
    limit = TimeLimit(0.001)
    with pytest.raises(TimeoutError, match=r"the handler took longer than 0\.001 s"):
        await limit.limited(hang)("a")
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_call_gets_the_whole_limit() -> None:
    """All calls share one timer, which may run at any moment of a call."""
    loop = asyncio.get_running_loop()
    limit = TimeLimit(0.02)
    blocker = asyncio.ensure_future(expect_timeout(limit))
    for _ in range(3):
        began = loop.time()
        with pytest.raises(TimeoutError):
            await limit.limited(hang)("a")
        assert loop.time() - began >= 0.02 - 1e-3  # the timer may fire within its resolution
    await blocker


async def expect_timeout(limit: TimeLimit) -> None:
    with pytest.raises(TimeoutError):
        await limit.limited(hang)("b")


async def test_calls_that_end_in_time_are_not_cancelled() -> None:
    """Each call has its own deadline."""
    limit = TimeLimit(0.001)
    hanging = [asyncio.ensure_future(expect_timeout(limit)) for _ in range(3)]
    while not all(task.done() for task in hanging):
        await limit.limited(return_at_once)("short")
        await asyncio.sleep(0)
    await asyncio.gather(*hanging)


async def test_cancellation_from_outside_is_no_timeout() -> None:
    """A task that is stopped raises CancelledError."""
    limit = TimeLimit(60)
    task = asyncio.ensure_future(limit.limited(hang)("a"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_cancellation_from_outside_wins_over_a_timeout() -> None:
    """A retry must not override a cancellation that comes at the same moment."""
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


async def test_call_that_completes_after_its_cancellation_has_succeeded() -> None:
    """A handler may catch the cancellation and complete its work."""
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


async def test_call_that_ignores_its_cancellation_is_reported_repeatedly() -> None:
    """The call is cancelled only once, so that its cleanup is not interrupted."""
    reports: list[tuple[str, float, bool]] = []
    release = asyncio.Event()
    cancelled = 0
    limit = TimeLimit(0.001, lambda *late: reports.append(late))

    async def ignore_cancellation(_item: str) -> None:
        nonlocal cancelled
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                cancelled += 1
                if cancelled > 2:
                    raise

    call = asyncio.ensure_future(limit.limited(ignore_cancellation)("a"))
    try:
        async with asyncio.timeout(10):
            while len(reports) < 3:
                await asyncio.sleep(0)
        assert not call.done()
    finally:
        release.set()
    await call
    assert cancelled == 1
    assert [(item, round(seconds, 6), ended) for item, seconds, ended in reports[:3]] == [
        ("a", 0.002, False),
        ("a", 0.003, False),
        ("a", 0.004, False),
    ]
    assert (reports[-1][0], reports[-1][2]) == ("a", True)
    assert call.cancelling() == 0


async def test_call_that_ends_in_time_or_when_cancelled_is_not_reported() -> None:
    reports: list[object] = []
    limit = TimeLimit(0.001, lambda *late: reports.append(late))
    await limit.limited(return_at_once)("a")
    await expect_timeout(limit)
    await asyncio.sleep(0.01)
    assert reports == []


async def test_error_of_the_call_is_raised() -> None:
    limit = TimeLimit(60)

    async def failing(item: str) -> None:
        raise LookupError(item)

    with pytest.raises(LookupError, match="a"):
        await limit.limited(failing)("a")


def test_limit_works_on_a_second_event_loop() -> None:
    """The timer of a closed loop must not prevent a timer on the next loop."""
    limit = TimeLimit(0.001)

    async def short() -> None:
        await limit.limited(return_at_once)("a")

    asyncio.run(short())
    asyncio.run(expect_timeout(limit))
