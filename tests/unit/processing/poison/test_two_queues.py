"""The reader of the poison queues in two accounts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processing.errors import StorageUnavailableError
from processing.handlers.retry import Failure, FailureKind
from processing.poison.memory import MemoryPoisonQueue, MemoryPoisonReader
from processing.poison.message import PoisonMessage
from processing.poison.queue import HOST, Received, Refusal
from processing.poison.two_accounts import PoisonReaderOfTwo
from tests.support.processing.browsing import browse
from tests.support.processing.events import event


def poisoned(number: int) -> PoisonMessage:
    failure = Failure(FailureKind.EXHAUSTED, RuntimeError("why"), 4, 1.0, 2.0)
    return PoisonMessage.from_failure(
        event(number), failure, handler="h", circuit_generation=0, instance="i"
    )


class CountingReader(MemoryPoisonReader):
    """A reader that counts its calls and that can fail."""

    reads = 0
    fails = False

    async def receive(self) -> list[Received]:
        self.reads += 1
        if self.fails:
            raise StorageUnavailableError("away")
        return await super().receive()


class Queues:
    """A reader of two queues in memory, the app's and the host's."""

    def __init__(self) -> None:
        self.app, self.host = MemoryPoisonQueue(), MemoryPoisonQueue()
        self.app_reader, self.host_reader = CountingReader(self.app), CountingReader(self.host)
        self.reader = PoisonReaderOfTwo(self.app_reader, self.host_reader)

    async def found(self) -> list[int]:
        return [message.sequence_number for message in await browse(self.reader)]


@pytest.fixture
async def queues() -> Queues:
    """Return two queues: 70 messages, three pages, are in the host's."""
    queues = Queues()
    for number in range(1, 71):
        await queues.host.put(poisoned(number))
    return queues


async def test_empty_queue_is_read_once_while_the_other_has_pages(queues: Queues) -> None:
    """Each further read would put back and receive again the messages that nobody can read."""
    assert await queues.found() == list(range(1, 71))
    assert (queues.app_reader.reads, queues.host_reader.reads) == (1, 4)


async def test_app_queue_is_read_again_after_both_were_empty(queues: Queues) -> None:
    await queues.found()
    await queues.app.put(poisoned(71))
    assert await queues.found() == list(range(1, 72))


async def test_app_queue_is_read_again_after_a_browse_that_stopped_early(queues: Queues) -> None:
    """The console reads the first messages only, and puts them back."""
    (first, *_) = await queues.reader.receive()
    await queues.reader.put_back(first)
    await queues.app.put(poisoned(71))
    (received,) = await queues.reader.receive()
    assert received.message.sequence_number == 71


async def test_app_queue_is_read_again_after_an_error(queues: Queues) -> None:
    await queues.reader.receive()
    queues.host_reader.fails = True
    with pytest.raises(StorageUnavailableError):
        await queues.reader.receive()
    await queues.app.put(poisoned(71))
    (received,) = await queues.reader.receive()
    assert received.message.sequence_number == 71


async def test_message_is_taken_in_the_account_that_its_entry_names(queues: Queues) -> None:
    """The other account has no message with that id."""
    entry = queues.host.entry_of(queues.host.messages[0])
    assert await queues.reader.take(entry) is Refusal.GONE
    taken = await queues.reader.take(replace(entry, where=HOST))
    assert isinstance(taken, Received)
    assert (taken.where, taken.message.sequence_number) == (HOST, 1)
    await queues.reader.remove(taken)
    assert await queues.reader.count() == 69
