"""The only copy of an event's body is never overwritten, in memory and in Azurite."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from processing.errors import DependencyUnavailableError
from processing.event import Event
from processing.formats.cut import short_key
from processing.poison.queue import Received
from processing.progress.memory import MemoryProgressStore
from processing.redrive.selection import Selection
from tests.support.processing.events import event
from tests.support.processing.poison_rig import PoisonRig, open_poison_rig

EMOJIS = "\U0001f600" * 4_000
"""A text whose characters take 12 bytes each in the poison queue."""

PARTS: dict[str, Any] = {"properties": {"n": 1}, "system_properties": {"content-type": "a/b"}}


@pytest.fixture(params=["memory", "azurite"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[PoisonRig]:
    memory = request.param == "memory"
    connection = None if memory else request.getfixturevalue("azurite")
    async with open_poison_rig(connection) as rig:
        yield rig


def always(text: str) -> Callable[[Event], Exception]:
    return lambda _: ValueError(text)


async def handle_at_last(rig: PoisonRig, *events: Event) -> None:
    """Redrive without an error, and check that nothing is left."""
    rig.fails = lambda _: None
    assert (await rig.redrive()).complete
    assert rig.handled == [*events]
    assert await rig.messages() == []
    assert await rig.store.keys() == []
    assert await rig.storage.blobs() == {}


@pytest.mark.parametrize("ordering", ["skip", "park"])
@pytest.mark.parametrize("size", [pytest.param(10, marks=pytest.mark.long), 34_000, 70_000])
async def test_body_outlasts_redrives_that_fail(rig: PoisonRig, size: int, ordering: str) -> None:
    """Body and properties stay, although each redrive's error alone fills a message."""
    sent = event(0, body=bytes(size), **PARTS)
    rig.fails = always("short")
    await rig.process(sent, poison_ordering=ordering)
    rig.fails = always(EMOJIS)
    for number in (1, 2, 3):
        summary = await rig.redrive()
        assert len(summary.failed) == 1
        (message,) = await rig.messages()
        assert (message.redrives, message.error.type) == (number, "builtins.ValueError")
        assert await rig.events() == [sent]
    await handle_at_last(rig, sent)


async def test_parked_body_outlasts_redrives_that_fail(rig: PoisonRig) -> None:
    """A large event behind a poisoned one becomes a poison message in the redrive."""
    events = [event(0), event(1, body=bytes(70_000), **PARTS)]
    rig.fails = always("short")
    await rig.process(*events, poison_ordering="park")
    rig.fails = lambda each: ValueError(EMOJIS) if each.sequence_number else None
    for _ in range(3):
        await rig.redrive()
        assert await rig.events() == events[1:]
    await handle_at_last(rig, *events)


class _LongNameError(Exception):
    pass


_LongNameError.__name__ = _LongNameError.__qualname__ = "E" * 60_000


LONG: dict[str, Any] = {
    "key": short_key(EMOJIS),
    "offset": "7" * 60_000,
    "properties": {"p": EMOJIS, EMOJIS: 1},
    "system_properties": {"message-id": EMOJIS},
}


@pytest.mark.parametrize("ordering", ["skip", "park"])
@pytest.mark.parametrize("body", [b"{}", bytes(70_000)], ids=["small", "large"])
async def test_long_fields_do_not_stop_their_partition(
    rig: PoisonRig, body: bytes, ordering: str
) -> None:
    """The queue takes the event's message, however long the fields of the event are."""
    sent = event(0, body=body, **LONG)
    rig.fails = always(EMOJIS)
    await rig.process(sent, poison_ordering=ordering)
    assert await rig.events() == [sent]
    await rig.redrive()
    assert await rig.events() == [sent]
    await handle_at_last(rig, sent)


async def test_long_names_do_not_stop_a_partition(rig: PoisonRig) -> None:
    """The names of the handler and of the error's type are cut."""
    sent = event(0, body=bytes(70_000))
    rig.fails = lambda _: _LongNameError(EMOJIS)
    await rig.process(sent, handler="m:" + "h" * 60_000)
    assert await rig.events() == [sent]
    await handle_at_last(rig, sent)


def break_parts(sent: Event) -> None:
    for name in ("body", "properties", "system_properties"):
        object.__setattr__(sent, name, None)


@pytest.mark.parametrize("size", [10, 70_000])
async def test_handler_that_breaks_its_event_breaks_no_stored_one(
    rig: PoisonRig, size: int
) -> None:
    """A redrive's handler replaces the parts of a parked event, and then fails."""
    events = [event(0), event(1, body=bytes(size), **PARTS)]
    rig.fails = always("short")
    await rig.process(*events, poison_ordering="park")
    rig.fails = lambda each: ValueError("short") if each.sequence_number else None
    rig.deed = lambda each: break_parts(each) if each.sequence_number else None
    for _ in range(2):
        await rig.redrive()
        assert await rig.events() == events[1:]
    rig.deed = lambda _: None
    await handle_at_last(rig, *events)


async def test_deferred_event_that_becomes_poison_keeps_its_body(rig: PoisonRig) -> None:
    """A redrive moves the large event of a deferred key to the poison queue."""
    sent = event(0, body=bytes(70_000), **PARTS)
    rig.fails = lambda _: DependencyUnavailableError("bank is down")
    await rig.process(sent, poison_ordering="skip", deferred_events_max=100)
    assert [each.entries for each in await rig.store.keys()] == [1]
    rig.fails = always(EMOJIS)
    for _ in range(2):
        await rig.redrive(Selection(key="k"), parks=False)
        assert await rig.events() == [sent]
        assert await rig.store.keys() == []
    await handle_at_last(rig, sent)


async def poison_twice(rig: PoisonRig, *errors: str) -> Event:
    """Poison an event several times, as after a rewind."""
    sent = event(0, body=bytes(34_000), **PARTS)
    for text in errors:
        rig.fails = always(text)
        rig.progress = MemoryProgressStore()
        await rig.process(sent, poison_ordering="skip")
    return sent


async def lose_blob(rig: PoisonRig) -> None:
    (name,) = await rig.storage.blobs()
    await rig.storage.delete_blob(name)


@pytest.mark.parametrize("errors", [("short", EMOJIS), (EMOJIS, "short")])
async def test_body_of_a_second_copy_is_found(rig: PoisonRig, errors: tuple[str, str]) -> None:
    """One message of the event has lost its body, and another one has it in the queue."""
    sent = await poison_twice(rig, *errors)
    await lose_blob(rig)
    await handle_at_last(rig, sent)


@pytest.mark.parametrize("errors", [("short", EMOJIS), (EMOJIS, "short")])
async def test_discard_records_the_body_of_any_copy(
    rig: PoisonRig, errors: tuple[str, str]
) -> None:
    """The record would otherwise replace the last copy of the body."""
    sent = await poison_twice(rig, *errors)
    await lose_blob(rig)
    decision, summary = await rig.discard("0/0/1700000000000")
    assert (decision.recorded, summary.complete) == (True, True)
    assert await rig.messages() == []
    record = json.loads((await rig.storage.blobs())[decision.blob])
    assert base64.b64decode(record["message"]["body"]) == sent.body
    assert record["body_lost"] == ""


async def test_second_discard_keeps_the_record_of_the_body(rig: PoisonRig) -> None:
    """A later message of the event has no body, because the first discard removed its blob."""
    sent = event(0, body=bytes(70_000))
    rig.fails = always("short")
    await rig.process(sent, poison_ordering="skip")
    (held,) = await rig.storage.reader.receive()
    await rig.storage.queue.put(held.message)
    first, _ = await rig.discard("0/0/1700000000000")
    await rig.storage.reader.put_back(held)
    second, summary = await rig.discard("0/0/1700000000000")
    assert (second.recorded, summary.complete) == (True, True)
    assert "is gone" in second.body_lost_reason
    blobs = await rig.storage.blobs()
    assert base64.b64decode(json.loads(blobs[first.blob])["message"]["body"]) == sent.body
    assert "is gone" in json.loads(blobs[second.blob])["body_lost"]


async def test_blob_stays_while_another_reader_holds_a_copy(rig: PoisonRig) -> None:
    """A visibility timeout expires during the redrive, and another reader receives the message."""
    sent = event(0, body=bytes(70_000))
    rig.fails = always("short")
    await rig.process(sent, poison_ordering="skip")
    rig.fails = lambda _: None
    reader, held = rig.storage.reader, list[Received]()
    receive = reader.receive

    async def recorded() -> list[Received]:
        found = await receive()
        held.extend(found)
        return found

    reader.receive = recorded  # type: ignore[method-assign]
    rig.deed = lambda _: setattr(held[0], "gone", True)
    assert (await rig.redrive()).complete
    assert rig.handled == [sent]
    reader.receive = receive  # type: ignore[method-assign]
    held[0].gone = False
    await reader.put_back(held[0])
    assert await rig.events() == [sent]


async def test_lost_body_is_counted(rig: PoisonRig) -> None:
    """The event stays until its blob is restored or the event is discarded."""
    sent = event(0, body=bytes(70_000))
    rig.fails = always("short")
    await rig.process(sent, poison_ordering="skip")
    ((name, data),) = (await rig.storage.blobs()).items()
    await rig.storage.delete_blob(name)
    summary = await rig.redrive()
    assert (summary.lost, len(summary.failed), summary.complete) == (1, 1, False)
    await rig.storage.write_blob(name, data)
    await handle_at_last(rig, sent)
