"""Careful mode and lists: one event at a time, for any number of keys, batches and processors."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from processing.crashes.careful import CarefulMode
from processing.errors import DependencyUnavailableError
from processing.event import Event
from processing.identity import Source
from tests.support.processing.events import IDENTITY, batch, event
from tests.support.processing.list_rig import fails, many, opened
from tests.support.processing.processor_rig import in_order, trip
from tests.support.processing.replay_rig import simulated


@pytest.mark.parametrize(
    ("keys", "count", "settings"),
    [
        (5, 20, {"max_lanes": 2}),
        (5, 20, {"max_lanes": 1, "batch_handler_events": 3}),
        (9, 30, {"max_lanes": 2, "batch_handler_events": 4}),
        (9, 30, {"max_lanes": 4, "batch_handler_events": 2}),
        (129, 258, {}),
    ],
)
@simulated
async def test_careful_mode_handles_more_keys_than_lanes(
    keys: int, count: int, settings: dict[str, Any]
) -> None:
    """A lane that waits for one of the calls alone has no turn that others wait for."""
    async with opened(**settings) as (rig, calls):
        rig.crashes.careful.begin("test", "a test")
        events = many(count, keys)
        result = await rig.processor.process(batch(events))
        assert result.handled == count
        assert calls.sizes == [1] * count
        assert in_order(events, calls.handled)


@simulated
async def test_careful_mode_covers_the_batches_of_all_processors() -> None:
    """Two pipelines with two partitions each share one turn."""
    running = most = 0

    async def one_at_a_time(_events: list[Event]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    careful = CarefulMode(lambda: running)
    careful.begin("test", "a test")
    async with AsyncExitStack() as stack:
        batches, all_calls = [], []
        for _ in range(2):
            opening = opened(options={"careful": careful}, max_lanes=2)
            rig, calls = await stack.enter_async_context(opening)
            calls.before = one_at_a_time
            all_calls.append(calls)
            for partition in ("0", "1"):
                source = Source(IDENTITY, partition)
                events = [event(number, f"key-{number % 5}", source=source) for number in range(15)]
                batches.append(rig.processor.process(batch(events, source)))
        results = await asyncio.gather(*batches)
        assert [each.handled for each in results] == [15] * 4
        assert [calls.sizes for calls in all_calls] == [[1] * 30] * 2
        assert most == 1


@pytest.mark.parametrize("opens", [False, True])
@simulated
async def test_no_list_is_called_again_if_that_changed_in_its_pause(opens: bool) -> None:
    """Careful mode, or an open circuit, may begin between two calls with one list."""
    async with opened(
        lambda _events: DependencyUnavailableError("down") if len(calls) == 1 else None,
        rules={"failure_threshold": 3},
        retry_initial_seconds=10.0,
        retry_max_seconds=60.0,
        hold_seconds=0.5,
    ) as (rig, calls):
        running = asyncio.create_task(rig.processor.process(batch(many(20, 5))))
        await asyncio.sleep(1)
        if opens:
            await trip(rig.breaker)
        else:
            rig.crashes.careful.begin("test", "a test")
        await asyncio.gather(running, return_exceptions=True)
        assert calls.sizes == ([20] if opens else [20] + [1] * 20)


async def test_events_fail_alone_in_careful_mode() -> None:
    """Also with more keys than lanes."""
    async with opened(fails(3, 7), max_lanes=2) as (rig, calls):
        rig.crashes.careful.begin("test", "a test")
        result = await rig.processor.process(batch(many(20, 10)))
        assert (result.handled, result.poisoned) == (18, 2)
        assert set(calls.sizes) == {1}
