"""Reading of the poison queue on real Azurite."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient

from processing.poison.claim_checks import with_body
from processing.poison.index.entry import IndexEntry
from processing.poison.message import INLINE_BYTES
from processing.poison.queue import HOST, PoisonReader, Received, Refusal
from processing.poison.storage_queue import StoragePoisonReader
from processing.poison.two_accounts import PoisonReaderOfTwo
from tests.integration.processing.poison.test_storage_queue import Rig, poisoned
from tests.integration.processing.poison.test_storage_queue import rig as rig  # noqa: PLC0414 - a fixture
from tests.support.processing.browsing import browse
from tests.support.processing.events import event


@pytest.fixture(params=["one account", "two accounts"])
async def reader(
    request: pytest.FixtureRequest, rig: Rig, azurite: str, second_account: str
) -> AsyncIterator[PoisonReader]:
    """Yield a reader of the rig's queue, alone or after a queue in another account."""
    name, policy = rig.queue.queue_name, TextBase64EncodePolicy()
    async with (
        QueueClient.from_connection_string(azurite, name, message_encode_policy=policy) as queue,
        QueueClient.from_connection_string(second_account, name) as other,
    ):
        ours, theirs = StoragePoisonReader(queue), StoragePoisonReader(other)
        # The messages are in the account that is read last.
        yield ours if request.param == "one account" else PoisonReaderOfTwo(theirs, ours)


async def test_missing_queue_has_no_messages(reader: PoisonReader) -> None:
    """The queue is created with the first poison message."""
    assert await reader.receive() == []


async def test_browse_returns_all_pages_oldest_first(rig: Rig, reader: PoisonReader) -> None:
    """A second browse finds the same messages."""
    for number in range(70, 0, -1):
        await rig.poison.put(poisoned(event(number)))
    for _ in range(2):
        found = await browse(reader)
        assert [message.sequence_number for message in found] == list(range(1, 71))


async def test_held_message_is_invisible_until_it_is_put_back(
    rig: Rig, reader: PoisonReader
) -> None:
    """An update stays after the message is put back, and a removed message is gone."""
    await rig.poison.put(poisoned(event(1)))
    (held,) = await reader.receive()
    assert await reader.receive() == []
    await reader.renew(held)
    await reader.update(held, held.message.with_claim_check(await rig.blobs.put(held.message)))
    await reader.put_back(held)
    (again,) = await reader.receive()
    assert again.message == held.message
    assert again.message.claim_check is not None
    await reader.remove(again)
    assert again.gone
    await reader.put_back(again)
    assert await browse(reader) == []


async def sent(rig: Rig, reader: PoisonReader, number: int = 1) -> IndexEntry:
    """Send a message, and return its index entry with the receipt of the sender."""
    message = poisoned(event(number))
    await rig.poison.put(message)  # creates the queue
    (first,) = await reader.receive()
    await reader.remove(first)
    answer = await rig.queue.send_message(message.to_json())
    where = HOST if isinstance(reader, PoisonReaderOfTwo) else ""
    return IndexEntry(str(answer.id), str(answer.pop_receipt), message, where)


async def test_message_that_nobody_received_is_taken_with_the_senders_receipt(
    rig: Rig, reader: PoisonReader
) -> None:
    """A taken message is held like a received one, and can be removed."""
    entry = await sent(rig, reader)
    taken = await reader.take(entry)
    assert isinstance(taken, Received)
    assert (taken.message, taken.is_held_for(60)) == (entry.message, True)
    assert await reader.receive() == []
    assert await reader.take(entry) is Refusal.HELD
    assert await reader.remove(taken)
    assert await reader.take(entry) is Refusal.GONE


async def test_message_that_was_put_back_is_taken_with_its_latest_receipt_only(
    rig: Rig, reader: PoisonReader
) -> None:
    """A received message is refused, also after its holder has put it back."""
    entry = await sent(rig, reader)
    (received,) = await reader.receive()
    assert await reader.take(entry) is Refusal.HELD
    await reader.put_back(received)
    assert await reader.take(entry) is Refusal.HELD
    taken = await reader.take(entry.with_receipt(received.receipt))
    assert isinstance(taken, Received)
    await reader.put_back(taken)


async def test_entry_without_its_text_is_not_taken(rig: Rig, reader: PoisonReader) -> None:
    """Nobody knows what the message contains, so it must be received."""
    entry = await sent(rig, reader)
    with pytest.raises(ValueError, match="only a part"):
        await reader.take(replace(entry, is_whole=False))


async def test_messages_that_readers_hold_are_counted(rig: Rig, reader: PoisonReader) -> None:
    """A queue that does not exist has none."""
    assert await reader.count() == 0
    await sent(rig, reader)
    await reader.receive()
    assert await reader.count() == 1


async def test_pages_are_received_side_by_side(rig: Rig, reader: PoisonReader) -> None:
    """No message is received twice."""
    for number in range(1, 71):
        await rig.poison.put(poisoned(event(number)))
    pages = await asyncio.gather(*(reader.receive() for _ in range(4)))
    found = sorted(each.message.sequence_number for page in pages for each in page)
    assert found == list(range(1, 71))


def old_message(size: int) -> str:
    """Return a message of version 0.1 that has so many bytes."""
    found = json.loads(poisoned(event(1, body=b"")).to_json())
    for name in ("namespace", "hub", "consumer_group", "pipeline", "system_properties"):
        del found[name]
    found |= {"version": 2, "id": f"events/$Default/0/1/{event(1).enqueued_ms}", "properties": {}}
    rest = size - len(json.dumps(found))
    body = "A" * (rest // 4 * 4)
    return json.dumps(found | {"body": body, "instance": found["instance"] + "i" * (rest % 4)})


async def test_full_message_of_an_earlier_version_is_put_back_and_updated(
    rig: Rig, reader: PoisonReader
) -> None:
    """The present form of the message is longer, and would not fit into the queue."""
    await rig.queue.create_queue()
    text = old_message(INLINE_BYTES)
    assert len(text) == INLINE_BYTES
    await rig.queue.send_message(text)
    (held,) = await reader.receive()
    assert held.message.is_large
    await reader.renew(held)
    await reader.put_back(held)
    (held,) = await reader.receive()
    payload = held.message.payload
    await reader.update(held, await rig.blobs.shrink(held.message))
    await reader.put_back(held)
    (found,) = await browse(reader)
    assert (await with_body(found, rig.blobs)).payload == payload


async def test_renewals_and_a_removal_wait_for_each_other(rig: Rig, reader: PoisonReader) -> None:
    """Each call replaces the message's receipt, so that two calls must not overlap."""
    await rig.poison.put(poisoned(event(1)))
    (held,) = await reader.receive()
    renewals = (reader.renew(held) for _ in range(5))
    await asyncio.gather(*renewals, reader.remove(held), reader.renew(held))
    assert await browse(reader) == []


async def test_message_whose_hold_expired_cannot_be_removed(rig: Rig, reader: PoisonReader) -> None:
    """The removal marks the message as gone and raises no error."""
    await rig.poison.put(poisoned(event(1)))
    (held,) = await reader.receive()
    receipt = held.receipt
    await reader.put_back(held)
    (other,) = await reader.receive()
    held.receipt = receipt
    await reader.remove(held)
    assert held.gone
    await reader.put_back(other)
    assert len(await browse(reader)) == 1


async def test_text_that_is_no_poison_message_is_left_in_the_queue(
    rig: Rig, reader: PoisonReader, caplog: pytest.LogCaptureFixture
) -> None:
    """The reader logs a warning, and finds the poison message behind 40 such texts."""
    await rig.queue.create_queue()
    for number in range(40):
        await rig.queue.send_message(f"not ours {number}")
    await rig.poison.put(poisoned(event(1)))
    assert [message.sequence_number for message in await browse(reader)] == [1]
    assert "left alone" in caplog.text


async def test_text_that_is_not_base64_is_left_in_the_queue(
    rig: Rig, reader: PoisonReader, azurite: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Text that was sent from the portal must not stop the other messages."""
    await rig.poison.put(poisoned(event(1)))
    async with QueueClient.from_connection_string(azurite, rig.queue.queue_name) as raw:
        await raw.send_message("plain text!")
        await raw.send_message(base64.b64encode(b"\xff\xfe").decode())
    assert [message.sequence_number for message in await browse(reader)] == [1]
    assert caplog.text.count("left alone") == 2
