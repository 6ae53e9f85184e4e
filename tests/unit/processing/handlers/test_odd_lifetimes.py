"""Lifetimes that a task group, a swallowed interruption or the loop's end disturbs."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress

import pytest

from processing.event import Event
from processing.handlers.loading import load_handler
from processing.handlers.raised import NotStartedError
from tests.support.processing.events import event


async def test_failed_task_of_a_start_is_named_and_the_handler_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A task group cancels the task that entered it, which is the one that waits for the close."""
    steps: list[str] = []
    fail = asyncio.Event()

    class Grouped:
        async def start(self) -> None:
            self.group = asyncio.TaskGroup()
            await self.group.__aenter__()
            self.group.create_task(self.refresh())

        async def refresh(self) -> None:
            await fail.wait()
            raise ConnectionError("no rates")

        async def __call__(self, each: Event) -> None:
            steps.append("called")

        async def aclose(self) -> None:
            steps.append("closed")
            await self.group.__aexit__(None, None, None)

    handler = load_handler(Grouped, {}, timeout_seconds=60)
    await handler.start()
    fail.set()
    async with asyncio.timeout(10):
        while handler.results.problem is None:
            await asyncio.sleep(0)
    assert "Grouped was cancelled, probably because a task failed" in handler.results.problem
    assert handler.results.problem in caplog.text
    await handler.handle(event(1))
    with caplog.at_level(logging.ERROR):
        await asyncio.gather(handler.aclose(), handler.aclose())
    assert steps == ["called", "closed"]
    assert "aclose raised ExceptionGroup" in caplog.text


async def test_handler_that_swallows_the_interruption_is_closed_for_calls() -> None:
    """A redrive could call it after its `aclose`."""
    started = asyncio.Event()

    class Stubborn:
        async def start(self) -> None:
            started.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

        async def __call__(self, each: Event) -> None:
            """Do nothing."""

    handler = load_handler(Stubborn, {})
    starting = asyncio.create_task(handler.start())
    await started.wait()
    await handler.aclose()
    with pytest.raises(NotStartedError, match="Stubborn is closed"):
        await starting
    with pytest.raises(NotStartedError):
        await handler.handle(event(1))


@pytest.mark.parametrize("given", [True, False])
def test_end_of_the_loop_closes_the_handler_after_its_calls_in_threads(given: bool) -> None:
    """The calls still use what `aclose` closes."""
    steps: list[str] = []
    entered, release = threading.Event(), threading.Event()

    class Plain:
        def start(self) -> None:
            """Open nothing."""

        def __call__(self, each: Event) -> None:
            entered.set()
            release.wait(10)
            steps.append("called")

        def aclose(self) -> None:
            steps.append("closed")

    async def idle() -> None:
        await asyncio.sleep(0)

    async def main() -> asyncio.Future[None]:
        handler = load_handler(Plain, {})
        await handler.start()
        if given:
            handler.on_loop_end(idle)
        call = asyncio.ensure_future(handler.handle(event(1)))
        await asyncio.to_thread(entered.wait, 10)
        threading.Timer(0.05, release.set).start()
        return call

    assert asyncio.run(main()).cancelled()
    assert steps == ["called", "closed"]
