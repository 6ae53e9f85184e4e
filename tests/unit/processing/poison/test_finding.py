"""The search for one event in a poison queue in memory."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest

from processing.errors import ProcessingError
from processing.poison import reading
from processing.poison.finding import find_copies
from processing.poison.index.memory import MemoryPoisonIndex
from processing.poison.memory import MemoryPoisonQueue, MemoryPoisonReader
from processing.poison.queue import Received, Refusal
from tests.support.processing.events import IDENTITY
from tests.support.processing.index_entries import compared_with, entry

MOST_KEPT = 300


class Watched(MemoryPoisonReader):
    """A reader that counts its calls, and the messages of which somebody keeps the body."""

    def __init__(self, queue: MemoryPoisonQueue) -> None:
        super().__init__(queue)
        self.running = self.most = self.receives = self.returned = 0
        self.expires_every = 0
        self.pages: list[weakref.ref[Received]] = []
        self.hangs = asyncio.Event()
        self.hangs_at = 0

    async def receive(self) -> list[Received]:
        self.receives += 1
        if self.receives == self.hangs_at:
            self.hangs.set()
            await asyncio.Event().wait()
        if self.expires_every and self.receives % self.expires_every == 0:
            self.expire_holds()
        self.running += 1
        self.most = max(self.most, self.running)
        found = await super().receive()
        self.running -= 1
        self.pages += map(weakref.ref, found)
        return found

    async def put_back(self, held: Any) -> None:
        self.returned += 1
        await super().put_back(held)

    @property
    def kept(self) -> int:
        gc.collect()
        return sum(each() is not None for each in self.pages)


class Rig:
    """A queue with its index."""

    def __init__(self) -> None:
        self.queue = MemoryPoisonQueue()
        self.index = MemoryPoisonIndex(IDENTITY)
        self.reader = Watched(self.queue)

    async def fill(self, count: int) -> None:
        self.queue.messages += [entry(number).message for number in range(count)]
        await compared_with(self.queue, self.index).ensure()

    async def find(self, text: str) -> list[int]:
        found = await find_copies(self.reader, text, IDENTITY, index=self.index)
        return [message.sequence_number for message in found]

    async def can_all_be_taken(self) -> bool:
        """Return whether the index has the latest receipt of each message."""
        entries = (await self.index.page(most=10_000)).entries
        return Refusal.HELD not in [await self.reader.take(each) for each in entries]


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    await rig.fill(600)
    return rig


async def test_event_is_found_through_the_index(rig: Rig) -> None:
    assert await rig.find(entry(7).message.id) == [7]
    assert rig.reader.receives == 0
    assert await rig.can_all_be_taken()


async def test_wrong_id_reads_the_queue_and_leaves_it_as_it_was(rig: Rig) -> None:
    """Calls run side by side, no body is kept, and a redrive can take each message."""
    with pytest.raises(ProcessingError, match="no poison message with the id 'wrong'"):
        await rig.find("wrong")
    assert rig.reader.most > 1
    assert rig.reader.kept < MOST_KEPT
    assert rig.queue.holds == {}
    assert await rig.can_all_be_taken()


async def test_event_that_the_index_lacks_is_received(rig: Rig) -> None:
    await rig.index.remove([rig.queue.name_of(rig.queue.messages[7])])
    assert await rig.find(entry(7).message.id) == [7]
    assert rig.queue.holds == {}


async def test_reading_ends_although_holds_expire(rig: Rig) -> None:
    rig.reader.expires_every = 7
    with pytest.raises(ProcessingError, match="no poison message"):
        await asyncio.wait_for(rig.find("wrong"), 20)


@pytest.mark.parametrize("hold_seconds", [120.0, 0.0])
async def test_receipt_of_an_expired_hold_is_not_written(hold_seconds: float) -> None:
    """Another reader has received these messages since, and put them back."""
    rig = Rig()
    await rig.fill(20)
    other = MemoryPoisonReader(rig.queue)

    class Slow(Watched):
        async def receive(self) -> list[Received]:
            if page := await super().receive():
                return page
            self.expire_holds()
            for each in await other.receive():
                each.held_until = 0.0
                await other.put_back(each)
                await rig.index.set_receipts({each.name: each.receipt})
            return []

    rig.reader = Slow(rig.queue)
    rig.reader.hold_seconds = hold_seconds
    with pytest.raises(ProcessingError, match="no poison message"):
        await rig.find("wrong")
    assert await rig.can_all_be_taken()


async def test_interrupted_search_does_not_put_back_a_long_queue(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ctrl-C must not wait for a call for each message; the index has the receipts."""
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(reading, "GIVE_UP_SECONDS", 0.0)
    rig.reader.hangs_at = 15
    finding = asyncio.create_task(rig.find("wrong"))
    await rig.reader.hangs.wait()
    finding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finding
    held = len(rig.queue.holds)
    assert (held > 0, rig.reader.returned) == (True, 0)
    assert f"{held} poison messages stay invisible until their visibility timeouts" in caplog.text
    assert await rig.can_all_be_taken()
