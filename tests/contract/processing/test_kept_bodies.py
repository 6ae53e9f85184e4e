"""The only copy of an event's body is never overwritten, in memory and in Azurite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from processing.event import Event
from processing.formats.cut import short_key
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
@pytest.mark.parametrize("size", [10, 34_000, 70_000])
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
