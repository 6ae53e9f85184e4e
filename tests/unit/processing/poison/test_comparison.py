"""The comparison of the index with a poison queue in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest

from processing.errors import StorageUnavailableError
from processing.identity import Identity, Source
from processing.poison import comparison_run
from processing.poison.comparison import Comparison
from processing.poison.comparison_run import _hold
from processing.poison.index.memory import MemoryPoisonIndex
from processing.poison.index.notes import AWAY_SECONDS, IndexNotes
from processing.poison.memory import MemoryPoisonQueue, MemoryPoisonReader
from processing.poison.queue import Hold, PoisonReader, Received
from tests.support.processing.events import IDENTITY
from tests.support.processing.index_entries import compared_with, entry

OTHER = Source(Identity("ns.example.net", "events", "other"), "0")


class Rig:
    """A queue whose messages are in no index yet."""

    def __init__(self, count: int) -> None:
        self.now = 1_000.0
        self.index = MemoryPoisonIndex(IDENTITY, clock=lambda: self.now)
        self.queue = MemoryPoisonQueue()
        self.queue.messages += [entry(number).message for number in range(count)]
        self.comparison = compared_with(self.queue, self.index)

    async def ids(self) -> list[str]:
        """Return the ids in the index."""
        page = await self.index.page(most=10_000)
        return [each.message.id for each in page.entries]

    def receipts(self) -> list[str]:
        """Return the latest receipt of each message."""
        return [self.queue.entry_of(message).receipt for message in self.queue.messages]

    def remove(self, position: int) -> None:
        """Remove a message as another program does."""
        del self.queue.messages[position]


async def test_index_is_built_from_the_queue() -> None:
    """All messages are put back, and their new receipts are valid."""
    rig = Rig(100)
    shown: list[tuple[int, int]] = []
    found = await rig.comparison.ensure(lambda seen, total: shown.append((seen, total)))
    assert (found.count, found.state.entries, found.state.held, found.not_indexed) == (
        100,
        100,
        0,
        0,
    )
    assert await rig.ids() == [message.id for message in rig.queue.messages]
    assert shown[-1] == (100, 100)
    assert rig.queue.holds == {}
    for each in (await rig.index.page()).entries:
        assert each.receipt == rig.queue.receipt_of(each.name)


async def test_equal_queue_is_not_read_again() -> None:
    """Holding all messages disturbs other readers."""
    rig = Rig(3)
    await rig.comparison.ensure()
    receipts = [rig.queue.receipt_of(rig.queue.name_of(each)) for each in rig.queue.messages]
    await rig.comparison.ensure()
    assert receipts == [
        rig.queue.receipt_of(rig.queue.name_of(each)) for each in rig.queue.messages
    ]
    await rig.comparison.ensure(fresh=True)
    assert receipts != [
        rig.queue.receipt_of(rig.queue.name_of(each)) for each in rig.queue.messages
    ]


async def test_index_follows_a_queue_that_others_changed() -> None:
    """A difference counts once it has lasted; until then it is shown."""
    rig = Rig(5)
    await rig.comparison.ensure()
    rig.remove(1)
    rig.queue.messages += [entry(7).message, entry(8).message]
    assert (await rig.comparison.ensure()).not_indexed == 1
    rig.now += 30
    found = await rig.comparison.ensure()
    assert found.not_indexed == 0
    assert await rig.ids() == [message.id for message in rig.queue.messages]


async def test_held_message_keeps_its_entry() -> None:
    """A held message is in the queue; a message without an entry is counted."""
    rig = Rig(40)
    await rig.comparison.ensure()
    rig.queue.messages += [entry(50).message]
    reader = MemoryPoisonReader(rig.queue)
    held = [*await reader.receive(), *await reader.receive()]
    for each in held[:-1]:
        if each.message.sequence_number > 2:
            await reader.put_back(each)
    rig.remove(0)
    rig.remove(5)
    found = await rig.comparison.ensure(fresh=True)
    assert (found.state.entries, found.state.held) == (38, 1)
    assert found.state.total == found.count == 39
    assert await rig.ids() == [message.id for message in rig.queue.messages[:-1]]
    await reader.put_back(held[-1])
    assert (await rig.comparison.ensure()).state.held == 1
    rig.now += 120
    assert (await rig.comparison.ensure()).state.entries == 39


async def test_entries_of_a_queue_that_is_all_held_stay() -> None:
    """A redrive holds the messages, and the index has its receipts."""
    rig = Rig(3)
    await rig.comparison.ensure()
    held = await MemoryPoisonReader(rig.queue).receive()
    await rig.index.set_receipts({each.name: each.receipt for each in held})
    found = await rig.comparison.ensure(fresh=True)
    assert (found.state.entries, found.state.held) == (3, 0)
    assert [each.gone for each in held] == [False] * 3
    for each in held:
        assert rig.queue.receipt_of(each.name) == each.receipt


async def test_comparison_takes_nothing_from_a_redrive() -> None:
    """It asks about each entry and puts messages back, but the redrive's receipts stay valid."""
    rig = Rig(5)
    await rig.comparison.ensure()
    reader = MemoryPoisonReader(rig.queue)
    *held, _, visible = await reader.receive()
    await reader.put_back(visible)
    await rig.index.set_receipts({each.name: each.receipt for each in held})
    rig.remove(3)
    found = await rig.comparison.ensure(fresh=True)
    assert (found.state.entries, found.state.held) == (4, 0)
    assert set(rig.queue.holds.values()) >= set(held)
    assert [rig.queue.receipt_of(each.name) for each in held] == [each.receipt for each in held]


async def test_entry_of_a_held_message_stays_although_others_are_removed() -> None:
    """A redrive removes messages that the comparison has seen, and still holds one."""
    rig = Rig(3)
    await rig.comparison.ensure()
    reader = MemoryPoisonReader(rig.queue)
    held, *others = await reader.receive()
    for each in others:
        await reader.put_back(each)
    first = rig.queue.entry_of(rig.queue.messages[1])

    def remove(_seen: int, _total: int) -> None:
        if any(rig.queue.name_of(each) == first.name for each in rig.queue.messages):
            rig.remove(1)
            removing.append(asyncio.create_task(rig.index.remove([first.name])))

    removing: list[asyncio.Task[None]] = []
    found = await rig.comparison.ensure(remove, fresh=True)
    assert removing[0].done()
    assert (found.state.entries, found.state.held) == (2, 0)
    assert await rig.ids() == [message.id for message in rig.queue.messages]
    assert held.message.id in await rig.ids()


async def test_messages_of_other_apps_are_counted() -> None:
    """They are put back, too, and never indexed."""
    rig = Rig(2)
    rig.queue.messages += [replace(entry(number).message, source=OTHER) for number in range(3)]
    found = await rig.comparison.ensure()
    assert (found.state.entries, found.state.of_others) == (2, {OTHER.identity.app: 3})
    assert found.not_indexed == 0
    assert rig.queue.holds == {}


async def test_long_queue_is_not_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its messages reappear by themselves, and their receipts are valid until then."""
    monkeypatch.setattr(comparison_run, "PUT_BACK_SECONDS", 0.0)
    rig = Rig(100)
    found = await rig.comparison.ensure()
    assert found.state.entries == len(rig.queue.holds) == 100
    (entry_of_first, *_) = (await rig.index.page()).entries
    assert isinstance(await MemoryPoisonReader(rig.queue).take(entry_of_first), Received)


async def test_hold_is_as_long_as_the_reading_takes() -> None:
    """The first answers say little about the speed."""
    assert _hold(0.0, 0, 20_000) == 10
    assert _hold(2.0, 32, 20_000 - 32) == pytest.approx(10 + 1.2 * 2 * 19_968 / 512)
    assert _hold(50.0, 10_000, 10_000) == pytest.approx(10 + 1.2 * 50)
    assert _hold(50.0, 20_000, 0) == 10
    assert _hold(1_000.0, 1_000, 100_000) == 600


async def test_message_that_reappears_too_soon_is_counted_once() -> None:
    """The reading may be slower than expected."""
    rig = Rig(100)

    def expire(seen: int, _total: int) -> None:
        if seen < 100:
            MemoryPoisonReader(rig.queue).expire_holds()

    rig.queue.messages += [replace(entry(1).message, source=OTHER)]
    found = await rig.comparison.ensure(expire)
    assert (found.state.entries, found.state.held) == (100, 0)
    assert found.state.of_others == {OTHER.identity.app: 1}


async def test_interrupted_comparison_puts_messages_back() -> None:
    """Earlier knowledge stays, and the next comparison begins at once."""
    rig = Rig(100)

    def interrupt(seen: int, _total: int) -> None:
        if seen > 50:
            task.cancel()

    task = asyncio.create_task(rig.comparison.ensure(interrupt))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rig.queue.holds == {}
    state = await rig.index.state()
    assert (state.built_at, state.comparing) == (None, None)
    assert (await rig.comparison.ensure()).state.entries == 100


async def test_interruption_waits_for_messages_on_their_way() -> None:
    """A lost answer would leave messages held whose receipts nobody knows."""
    rig = Rig(100)
    asked = asyncio.Event()

    class Slow(MemoryPoisonReader):
        async def receive(self) -> list[Received]:
            page = await super().receive()
            asked.set()
            for _ in range(5):
                await asyncio.sleep(0)
            return page

    async def readers() -> Mapping[str, PoisonReader]:
        return {"": Slow(rig.queue)}

    comparison = Comparison(rig.index, readers, IDENTITY)
    task = asyncio.create_task(comparison.ensure())
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rig.queue.holds == {}


async def test_interruption_keeps_the_receipts_of_returned_messages() -> None:
    """Each message that the queue has taken back has its new receipt in the index."""
    rig = Rig(100)

    class Interrupted(MemoryPoisonReader):
        async def put_back(self, held: Hold) -> None:
            await super().put_back(held)
            if not task.cancelling():
                task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)

    async def readers() -> Mapping[str, PoisonReader]:
        return {"": Interrupted(rig.queue)}

    task = asyncio.create_task(Comparison(rig.index, readers, IDENTITY).ensure())
    with pytest.raises(asyncio.CancelledError):
        await task
    for each in (await rig.index.page()).entries:
        assert each.receipt == rig.queue.receipt_of(each.name)


async def test_comparison_waits_for_the_one_of_another_process() -> None:
    """Two would each see half of the queue."""
    rig = Rig(3)
    token = await rig.index.begin()
    shown: list[int] = []

    async def other() -> None:
        await rig.index.put([entry(9)])
        await rig.index.end(token or "", of_others={}, held=2)

    def show(seen: int, _total: int) -> None:
        shown.append(seen)
        tasks.append(asyncio.create_task(other()))

    tasks: list[asyncio.Task[None]] = []
    found = await rig.comparison.ensure(show)
    assert shown == [0]
    assert found.state.entries == 1


async def test_earlier_result_is_shown_during_a_comparison() -> None:
    """Only an index that was never built is waited for."""
    rig = Rig(3)
    await rig.comparison.ensure()
    assert await rig.index.begin() is not None
    assert (await rig.comparison.ensure()).state.entries == 3


async def test_lost_index_ends_the_comparison() -> None:
    """It must not count as built: pages before the loss are missing."""
    rig = Rig(100)

    def lose(seen: int, _total: int) -> None:
        if seen == 100:
            rig.index.lose()

    with pytest.raises(StorageUnavailableError, match="repeat the command"):
        await rig.comparison.ensure(lose)
    assert (await rig.index.state()).built_at is None
    MemoryPoisonReader(rig.queue).expire_holds()
    assert (await rig.comparison.ensure()).state.entries == 100


async def test_put_message_is_noted_in_the_index() -> None:
    """The index has the receipt of the message."""
    index = MemoryPoisonIndex(IDENTITY)
    queue = MemoryPoisonQueue(notes=IndexNotes(index))
    await queue.put(entry(1).message)
    (noted,) = (await index.page()).entries
    assert noted == queue.entry_of(queue.messages[0])


async def test_failed_index_is_left_alone_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """The message is in the queue, so no error reaches the event, and one line is logged."""

    class Failing(MemoryPoisonIndex):
        asked = 0
        fails = True

        async def put(self, *args: object, **options: object) -> int:
            self.asked += 1
            if self.fails:
                raise StorageUnavailableError("index of the poison queue: away")
            return await super().put(*args, **options)  # type: ignore[arg-type]

    now = 0.0
    index = Failing(IDENTITY)
    notes = IndexNotes(index, clock=lambda: now)
    for _ in range(3):
        await notes.note(entry(1))
    assert index.asked == 1
    now += AWAY_SECONDS
    await notes.note(entry(1))
    assert index.asked == 2
    index.fails = False
    now += AWAY_SECONDS
    await notes.note(entry(1))
    await notes.note(entry(2))
    assert (await index.state()).entries == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
