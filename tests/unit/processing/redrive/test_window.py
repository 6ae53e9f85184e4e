"""The number of messages that a redrive holds follows the speed of the storage."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processing.redrive.window import FIRST, LEAST, WINDOW, Window
from tests.support.jumping_loop import run_with_all_clocks
from tests.support.processing.events import event
from tests.unit.processing.redrive.test_windows import Site, WatchedReader


@pytest.mark.parametrize(
    ("seconds", "size"),
    [(0.01, WINDOW), (0.1, 300), (1.0, LEAST), (60.0, LEAST)],
)
async def test_all_held_messages_can_be_renewed_in_a_quarter_of_their_timeout(
    seconds: float, size: int
) -> None:
    now = 0.0
    window = Window(WINDOW, 120, clock=lambda: now)
    assert window.size == FIRST

    async def answer() -> None:
        nonlocal now
        now += seconds

    for _ in range(50):
        await window.measured(answer)()
    assert window.size == pytest.approx(size, abs=1)


async def test_calls_side_by_side_share_their_time() -> None:
    now = 0.0
    window = Window(WINDOW, 120, clock=lambda: now)
    answers = asyncio.Event()

    async def call() -> None:
        await window.measured(answers.wait)()

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(call())
        await asyncio.sleep(0)
        now = 2.0
        answers.set()
    now = 50.0  # no call runs
    assert window.size == 150


def test_small_window_stays_small() -> None:
    assert Window(8, 120).size == 8


class SlowReader(WatchedReader):
    """A reader whose storage makes one call after the other, each in half a second."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.hold_seconds = 120.0
        self._turn = asyncio.Lock()

    async def renew(self, held: Any) -> None:
        async with self._turn:
            await asyncio.sleep(0.5)
        await super().renew(held)

    async def remove(self, held: Any) -> bool:
        async with self._turn:
            await asyncio.sleep(0.5)
        return await super().remove(held)


@pytest.mark.parametrize(("messages", "most"), [(400, 400), (600, FIRST)])
def test_redrive_of_a_long_queue_on_a_slow_storage_holds_few_messages(
    messages: int, most: int
) -> None:
    """A queue that fits into one window is held as a whole."""

    async def redrive() -> SlowReader:
        site = Site()
        slow = site.reader = site.watched = SlowReader(site.queue)
        await site.fill(*(event(number, f"k{number}") for number in range(messages)))
        summary = await site.paged(window=WINDOW).run()
        assert (summary.replayed, summary.complete) == (messages, True)
        return slow

    slow = run_with_all_clocks(redrive())
    assert slow.most <= most
