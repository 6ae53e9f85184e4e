"""An invocation that ends during the search of a list: the events of earlier halves are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from breaker.configuration.function_timeout import FunctionTimeout
from processing.batch.time_budget import TimeBudget
from processing.errors import (
    DependencyUnavailableError,
    OutOfTimeError,
    OwnershipLostError,
    ShutdownError,
)
from processing.event import Event
from tests.support.processing.events import SOURCE, batch
from tests.support.processing.list_rig import many, opened
from tests.support.processing.processor_rig import Rig
from tests.support.processing.replay_rig import simulated

type Task = asyncio.Task[Any]


async def stop(rig: Rig, _running: Task) -> None:
    rig.processor.stop()


async def halt(rig: Rig, _running: Task) -> None:
    (run,) = rig.processor._runs
    run.hold.halt(LookupError("another lane failed"))


async def lose_claim(rig: Rig, _running: Task) -> None:
    await rig.store.claim(SOURCE)


async def cancel(_rig: Rig, running: Task) -> None:
    running.cancel()


async def wait_for_the_deadline(_rig: Rig, _running: Task) -> None:
    """Do nothing."""


async def finished(rig: Rig, events: list[Event]) -> set[int]:
    known = await rig.progress.load(SOURCE)
    return {each.sequence_number for each in known.finished_among(events)}


@pytest.mark.parametrize(("keys", "mode"), [(1, "relaxed"), (16, "strict")])
@pytest.mark.parametrize(
    ("end", "error", "pause"),
    [
        (stop, ShutdownError, 100.0),
        (halt, LookupError, 100.0),
        (lose_claim, OwnershipLostError, 10.0),
        (cancel, asyncio.CancelledError, 100.0),
        (wait_for_the_deadline, OutOfTimeError, 100.0),
    ],
)
@simulated
async def test_events_of_a_half_are_finished_whatever_ends_the_list(
    end: Callable[[Rig, Task], Any], error: type[BaseException], pause: float, keys: int, mode: Any
) -> None:
    """The end comes in the pause after a call with a later half."""

    def judge(_events: list[Event]) -> Exception | None:
        if len(calls) == 1:
            return LookupError("an event of the list is bad")
        return DependencyUnavailableError("down") if len(calls) > 2 else None

    settings = {"retry_initial_seconds": pause, "retry_max_seconds": 300.0, "progress_mode": mode}
    budget = TimeBudget.of(FunctionTimeout(100.0), 4.0)
    async with opened(judge, options={"budget": budget}, **settings) as (rig, calls):
        events = many(16, keys)
        running = asyncio.create_task(rig.processor.process(batch(events)))
        await asyncio.sleep(1)
        await end(rig, running)
        (raised,) = await asyncio.gather(running, return_exceptions=True)
        assert isinstance(raised, error)
        assert calls.sizes == [16, 8, 4]
        assert calls.handled == [*range(8)]
        assert await finished(rig, events) == {*range(8)}


@pytest.mark.parametrize("keys", [1, 16])
@simulated
async def test_kill_during_a_search_doubles_only_the_events_of_its_present_call(keys: int) -> None:
    """The events of an earlier half are recorded at once, also if their key has others behind."""

    async def hang(_events: list[Event]) -> None:
        if len(calls) == 3:
            await asyncio.Event().wait()

    async with opened(lambda _events: LookupError() if len(calls) == 1 else None) as (rig, calls):
        calls.before = hang
        events = many(16, keys)
        running = asyncio.create_task(rig.processor.process(batch(events)))
        await asyncio.sleep(1)
        assert calls.sizes == [16, 8, 4]
        assert await finished(rig, events) == {*range(8)}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
