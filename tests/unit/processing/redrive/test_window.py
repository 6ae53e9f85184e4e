"""The number of messages that a redrive holds follows the speed of the storage."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processing.event import Event
from processing.poison.index.entry import IndexEntry
from processing.poison.memory import MemoryPoisonQueue
from processing.poison.queue import Received, Refusal
from processing.redrive.redrive import Redrive
from processing.redrive.selection import Selection
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
    """A reader whose storage makes one call after the other.

    Args:
        queue: the queue.
        seconds: time of each call.
    """

    def __init__(self, queue: MemoryPoisonQueue, seconds: float = 0.5) -> None:
        super().__init__(queue)
        self.hold_seconds = 120.0
        self._seconds = seconds
        self._turn = asyncio.Lock()

    async def renew(self, held: Any) -> None:
        await self._answer()
        await super().renew(held)

    async def remove(self, held: Any) -> bool:
        await self._answer()
        return await super().remove(held)

    async def put_back(self, held: Any) -> None:
        await self._answer()
        await super().put_back(held)

    async def take(self, entry: IndexEntry) -> Received | Refusal:
        await self._answer()
        return await super().take(entry)

    async def _answer(self) -> None:
        async with self._turn:
            await asyncio.sleep(self._seconds)


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


def seconds_to_stop(site: Site, redrive: Redrive, selection: Selection, after: float) -> float:
    """Stop a redrive after some simulated seconds, and return the time until its end."""

    async def stop() -> float:
        running = asyncio.create_task(redrive.run(selection))
        await asyncio.sleep(after)
        stopped = asyncio.get_running_loop().time()
        redrive.stop()
        summary = await running
        assert (summary.stopped, summary.failed) == ("interrupted", ())
        assert len(site.queue.messages) == summary.left, "each handled event's message is removed"
        return asyncio.get_running_loop().time() - stopped

    return run_with_all_clocks(stop())


@pytest.mark.parametrize("after", [0.1, 7.0, 40.0])
@pytest.mark.parametrize("seconds", [0.08, 0.15])
def test_redrive_on_a_slow_storage_ends_within_two_seconds_of_a_stop(
    seconds: float, after: float
) -> None:
    """The message of each event in flight still has to be removed, one after the other."""
    site = Site()
    site.reader = site.watched = SlowReader(site.queue, seconds)
    asyncio.run(site.fill(*(event(number, f"k{number}") for number in range(600))))
    assert seconds_to_stop(site, site.paged(window=WINDOW), Selection(), after) < 2


def test_stop_ends_the_taking_of_a_long_key() -> None:
    """The operator stops the redrive before its first event, while it takes the messages."""
    site = Site()
    site.reader = site.watched = SlowReader(site.queue, 0.15)
    asyncio.run(site.fill(*(event(number, "a") for number in range(150))))
    redrive = site.paged()
    assert seconds_to_stop(site, redrive, Selection(key="a"), 1.0) < 2
    assert site.handled == []


def test_long_keys_are_replayed_side_by_side_once_the_storage_has_answered() -> None:
    """At first the speed of the storage is not known, so that only four keys begin."""
    site = Site()
    site.reader = site.watched = SlowReader(site.queue, 0.001)
    asyncio.run(site.fill(*(event(number, f"k{number % 16}") for number in range(48))))

    async def wait(_each: Event) -> None:
        await asyncio.sleep(10)

    async def redrive() -> float:
        assert (await site.paged().run()).replayed == 48
        return asyncio.get_running_loop().time()

    site.before = wait
    assert run_with_all_clocks(redrive()) < 45, "each key takes 30 s"
