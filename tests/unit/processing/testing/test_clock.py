"""The test clock: pauses are skipped, waits of the handler are not, and the loop stays usable."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from processing.event import Event
from processing.testing.app import AsyncTestApp
from processing.testing.events import event
from processing.testing.running import TestApp, run, run_async
from tests.unit.processing.testing.handlers import handle

LIMIT = {"PROCESSING_HANDLER_TIMEOUT_SECONDS": 20}


def test_time_limit_does_not_pass_while_the_handler_waits_for_a_thread() -> None:
    """Otherwise the loop, which has nothing else to do, would skip to the time limit."""

    async def wait(_event: Event) -> None:
        await asyncio.to_thread(lambda: threading.Event().wait(0.05))

    outcome = run(wait, [waiting := event()], settings=LIMIT)
    assert (outcome.handled, len(outcome.calls)) == ([waiting], 1)


def test_time_does_not_pass_while_a_plain_handler_runs() -> None:
    """A plain call that outlasts its limit would be logged."""

    def wait(_event: Event) -> None:
        threading.Event().wait(0.05)

    outcome = run(wait, [waiting := event()], settings=LIMIT)
    assert outcome.handled == [waiting]
    assert outcome.seconds < 20


def test_time_limit_holds_for_a_handler_that_hangs() -> None:
    async def hang(_event: Event) -> None:
        await asyncio.Event().wait()

    settings = {"PROCESSING_HANDLER_TIMEOUT_SECONDS": 0.05, "PROCESSING_HOLD_SECONDS": 0}
    outcome = run(hang, [hanging := event()], settings=settings)
    assert outcome.kept == [hanging]
    assert "took longer than 0.05 s" in outcome.of(hanging).why


async def test_run_async_uses_the_running_loop_and_restores_it() -> None:
    loop = asyncio.get_running_loop()
    loops: list[asyncio.AbstractEventLoop] = []

    async def note(_event: Event) -> None:
        loops.append(asyncio.get_running_loop())
        if len(loops) < 3:
            raise ValueError

    settings = {"PROCESSING_RETRY_INITIAL_SECONDS": 40, "PROCESSING_RETRY_MAX_SECONDS": 300}
    began = loop.time()
    outcome = await run_async(note, [once := event()], settings=settings)
    assert outcome.handled == [once]
    assert set(loops) == {loop}
    ended = loop.time()
    assert ended - began >= outcome.seconds > 100
    assert "select" not in vars(vars(loop)["_selector"])
    # Real time passes again: a short sleep is not skipped.
    real = time.monotonic()
    await asyncio.sleep(0.01)
    assert time.monotonic() - real >= 0.009
    assert loop.time() >= ended


async def test_two_apps_share_the_clock_of_their_loop() -> None:
    async with AsyncTestApp(handle) as first:
        async with AsyncTestApp(handle) as second:
            assert (await second.run(seconds=60)).seconds >= 60
        assert (await first.run([once := event()], seconds=60)).handled == [once]


async def test_second_run_at_the_same_time_is_refused() -> None:
    """Otherwise both runs would deliver the same batches."""
    async with AsyncTestApp(handle) as app:
        first = asyncio.create_task(app.run([once := event()]))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="runs already"):
            await app.run()
        assert (await first).handled == [once]


async def test_run_in_a_coroutine_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"use await run_async\(\.\.\.\)"):
        run(handle, [event()])
    with pytest.raises(RuntimeError, match="use async with AsyncTestApp"), TestApp(handle):
        pass


async def test_loop_without_a_selector_is_refused() -> None:
    loop = asyncio.get_running_loop()
    selector = vars(loop).pop("_selector")
    try:
        with pytest.raises(RuntimeError, match=r"needs an event loop of asyncio.*call run()"):
            await AsyncTestApp(handle).__aenter__()
    finally:
        vars(loop)["_selector"] = selector
