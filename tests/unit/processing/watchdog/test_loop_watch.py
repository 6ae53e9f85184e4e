"""The watch over the event loop: a standstill is named with its handler and event."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.watchdog.loop_watch import LoopWatch
from tests.support.processing.events import event


class Named(logging.Handler):
    """A log handler that lets a blocking call return once the log has named the standstill."""

    def __init__(self) -> None:
        super().__init__()
        self.named = threading.Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if "stands still" in self.lines[-1]:
            self.named.set()


@pytest.fixture
def log() -> Any:
    named = Named()
    logger = logging.getLogger("processing.watchdog.loop_watch")
    logger.addHandler(named)
    yield named
    logger.removeHandler(named)


@asynccontextmanager
async def watched(handler: LoadedHandler, **options: Any) -> AsyncIterator[LoopWatch]:
    watch = LoopWatch(
        handler.name, handler.event_of, beat_seconds=0.01, late_seconds=0.05, **options
    )
    watch.start()
    try:
        yield watch
    finally:
        await watch.aclose()


class Slots:
    """A recorder in memory."""

    def __init__(self) -> None:
        self.begun: list[tuple[object, ...]] = []
        self.open = 0

    def begin(self, *fields: object) -> int:
        self.begun.append(fields)
        self.open += 1
        return len(self.begun)

    def end(self, slot: int) -> None:
        self.open -= bool(slot)


async def test_blocked_loop_is_named_with_handler_and_event(log: Named) -> None:
    """The log names both while the loop stands still, and health afterwards."""

    async def blocks(_each: Event) -> None:
        assert log.named.wait(30)

    handler = LoadedHandler("app:blocks", blocks, timeout_seconds=60)
    seconds: list[float] = []
    slots, each = Slots(), event(7)
    async with watched(handler, blocked=seconds.append, recorder=slots) as watch:
        assert not watch.notice
        await handler.handle(each)
        while not seconds:
            await asyncio.sleep(0.01)
        assert f"(handler app:blocks, event {each.id}, at " in (watch.notice or "")
    still = next(line for line in log.lines if "stands still" in line)
    assert still.startswith("Blocked loop: the event loop stands still (handler app:blocks, event")
    assert "threading.py" in still  # the place that waits
    assert seconds[0] >= 0.05
    assert slots.begun == [("late", each.id)]
    assert slots.open == 0


async def test_loop_that_runs_is_not_named(log: Named) -> None:
    """A handler that waits does not block."""

    async def waits(_each: Event) -> None:
        await asyncio.sleep(0.2)

    handler = LoadedHandler("app:waits", waits, timeout_seconds=60)
    async with watched(handler):
        await handler.handle(event(7))
    assert not [line for line in log.lines if "app:waits, event" in line and "stands" in line]


async def test_nothing_is_left_after_the_close() -> None:
    async with watched(LoadedHandler("app:x", print)):
        assert "loop-watch" in {each.name for each in threading.enumerate()}
    assert "loop-watch" not in {each.name for each in threading.enumerate()}
