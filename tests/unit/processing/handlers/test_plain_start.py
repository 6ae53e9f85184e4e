"""A plain `start` runs in a thread, which cannot be interrupted."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest

from processing.errors import HandlerStartError
from processing.handlers.loading import load_handler
from processing.handlers.raised import NotStartedError

ENOUGH = 10  # seconds, for what happens at once


class Slow:
    """A handler whose plain `start` waits for `go_on`."""

    steps: list[str]
    entered: threading.Event
    go_on: threading.Event

    def start(self) -> None:
        self.steps.append("start begins")
        self.entered.set()
        self.go_on.wait(ENOUGH)
        self.steps.append("start ends")

    def __call__(self, event: object) -> None:
        """Do nothing."""

    def aclose(self) -> None:
        self.steps.append("closed")


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    Slow.steps, Slow.entered, Slow.go_on = [], threading.Event(), threading.Event()
    yield
    Slow.go_on.set()


async def test_close_waits_until_a_plain_start_has_ended() -> None:
    """A pool that is opened after `aclose` would stay open."""
    handler = load_handler(Slow, {})
    starting = asyncio.create_task(handler.start())
    await asyncio.to_thread(Slow.entered.wait, ENOUGH)
    closing = asyncio.create_task(handler.aclose())
    with pytest.raises(NotStartedError, match="was closed during its start"):
        await starting
    assert not closing.done()
    Slow.go_on.set()
    await closing
    assert Slow.steps == ["start begins", "start ends", "closed"]


async def test_plain_start_over_its_limit_is_not_started_again_before_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two starts at once would open two pools; the batch fails and runs again."""
    monkeypatch.setattr("processing.handlers.loading.START_SECONDS", 0.01)
    handler = load_handler(Slow, {}, timeout_seconds=0.01)
    for _ in range(2):
        with pytest.raises(HandlerStartError, match=r"longer than 0\.01 s, and still runs in its"):
            await handler.start()
    assert "still runs in its thread" in (handler.results.problem or "")
    Slow.go_on.set()
    async with asyncio.timeout(ENOUGH):
        while "closed" not in Slow.steps:  # a thread notes it
            await asyncio.sleep(0.001)
    assert Slow.steps == ["start begins", "start ends", "closed"]
    monkeypatch.undo()
    await handler.aclose()


async def test_close_does_not_wait_for_a_plain_start_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process ends; `aclose` beside a running `start` could break both."""
    handler = load_handler(Slow, {})
    monkeypatch.setattr(handler._lifetime, "_limits", (0, 0.01))
    starting = asyncio.create_task(handler.start())
    await asyncio.to_thread(Slow.entered.wait, ENOUGH)
    with caplog.at_level(logging.ERROR):
        await handler.aclose()
    assert "start still runs in its thread after 0.01 s, so aclose is not called" in caplog.text
    assert Slow.steps == ["start begins"]
    await asyncio.wait({starting})
    Slow.go_on.set()  # the end of the loop waits for its threads
