"""`breakpoint()` in a handler outside of a debug host: the event is kept, and health names it."""

from __future__ import annotations

import asyncio
import bdb
import sys
from collections.abc import Awaitable, Callable, Iterator

import pytest

from processing.batch.result import BatchResult
from processing.event import Event, EventBatch
from processing.handlers.breakpoints import allow_breakpoints, refuse_breakpoints
from tests.support.processing.processor_rig import Rig, keyed, open_rig

PATIENCE = 10


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[object, ...]]]:
    """Refuse breakpoints, and yield the calls that reach Python's own hook."""
    reached: list[tuple[object, ...]] = []
    monkeypatch.setattr(sys, "__breakpointhook__", lambda *args: reached.append(args))
    monkeypatch.setattr(sys, "breakpointhook", sys.__breakpointhook__)
    refuse_breakpoints()
    yield reached
    allow_breakpoints()
    assert sys.breakpointhook is sys.__breakpointhook__


async def stop(_event: Event) -> None:
    breakpoint()


async def stop_in_a_task(event: Event) -> None:
    await asyncio.create_task(stop(event))


async def stop_in_a_thread(event: Event) -> None:
    await asyncio.to_thread(breakpoint)


async def leave_a_debugger(_event: Event) -> None:
    raise bdb.BdbQuit


async def handle(rig: Rig) -> BatchResult:
    batch = keyed("a")
    async with asyncio.timeout(PATIENCE):
        return await rig.processor.process(EventBatch(batch[0].source, batch))


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        (stop, "called breakpoint(), which works only in a debug host: run `breakwater host"),
        (stop_in_a_task, "called breakpoint()"),
        (stop_in_a_thread, "called breakpoint()"),
        (leave_a_debugger, "called a debugger, which needs a terminal"),
    ],
)
async def test_event_of_a_handler_with_a_breakpoint_is_kept(
    stops: list[tuple[object, ...]], behaviour: Callable[[Event], Awaitable[None]], says: str
) -> None:
    """A debugger without a terminal ends with an error, which would poison each event."""
    settings = {"defer_after_seconds": 0, "deferred_events_max": 10}
    async with open_rig(behaviour, settings=settings) as rig:
        result = await handle(rig)
        assert (result.deferred, result.poisoned) == (1, 0)
        problem = rig.processor.parts.handler.results.problem or ""
        assert problem.startswith(f"handler tests:handler {says}")
        assert problem.endswith("its events are kept until it is corrected")
    assert stops == []


async def test_breakpoint_outside_of_a_handler_is_not_concerned(
    stops: list[tuple[object, ...]],
) -> None:
    """Another function of the app may have a debugger."""
    breakpoint()
    assert stops == [()]


async def test_breakpoints_that_are_switched_off_are_not_refused(
    stops: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONBREAKPOINT", "0")
    async with open_rig(stop) as rig:
        await handle(rig)
        assert rig.handled == [0]


async def test_attached_debugger_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A debugger sets a hook of its own when it attaches."""
    answered: list[bool] = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: answered.append(True))
    refuse_breakpoints()
    async with open_rig(stop) as rig:
        await handle(rig)
        assert rig.handled == [0]
    assert answered == [True]
