"""Shutdown of a process during the start of its handler, and of one with two processors."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from processing.batch import shutdown
from processing.errors import ShutdownError
from processing.event import Event
from processing.handlers.loading import load_handler
from tests.support.processing.events import batch
from tests.support.processing.processor_rig import keyed, open_rig


@pytest.fixture(autouse=True)
def kills(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Note the signals that would end the process, and restore the signals' handlers."""
    found: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _process, number: found.append(number))
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("seconds", [0, 60])
async def test_signal_interrupts_the_start_that_a_batch_waits_for(
    seconds: float, kills: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """The platform would kill the process before the start's limit, and nothing would be closed."""
    steps: list[str] = []
    started = asyncio.Event()

    class Hanging:
        async def start(self) -> None:
            started.set()
            await asyncio.Event().wait()

        async def __call__(self, event: Event) -> None:
            steps.append("called")

        async def aclose(self) -> None:
            steps.append("closed")

    handler = load_handler(Hanging, {}, timeout_seconds=seconds)
    settings = {"handler_timeout_seconds": seconds}
    async with open_rig(settings=settings, loaded=handler) as rig:
        shutdown.stop_on_signals(rig.processor)
        running = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
        await started.wait()
        signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            with pytest.raises(ShutdownError, match="was closed during its start"):
                await running
            while not kills:
                await asyncio.sleep(0)
    assert steps == ["closed"]
    assert caplog.text == ""


async def test_signal_ends_the_process_when_all_processors_are_idle(kills: list[int]) -> None:
    """The process of two processors may not end when the first one is idle."""
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow(_each: Event) -> None:
        begun.set()
        await release.wait()

    async with open_rig() as first, open_rig(slow) as second:
        for rig in (first, second):
            shutdown.stop_on_signals(rig.processor)
        running = asyncio.create_task(second.processor.process(batch(keyed("a"))))
        await begun.wait()
        signal.raise_signal(signal.SIGTERM)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not kills
        release.set()
        async with asyncio.timeout(10):
            with suppress(ShutdownError):
                await running
            while not kills:
                await asyncio.sleep(0)
        assert second.handled == [0]
