"""Events whose body was in a blob that is gone."""

from __future__ import annotations

import json

import pytest

from processing.errors import BodyLostError, StorageUnavailableError
from processing.parking.store import EntryKind
from processing.poison.claim_checks import BodyState, states, with_body
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.redrive.discard import Discard
from processing.redrive.selection import Selection
from processing.redrive.summary import RedriveSummary
from tests.support.processing.events import IDENTITY, batch, event
from tests.support.processing.parking_rig import Rig, open_rig

LARGE = bytes(100_000)


async def lose(rig: Rig, part: str) -> tuple[str, bytes]:
    """Delete the only blob whose name contains the text, and return its name and content."""
    (name,) = [name for name in rig.claims.blobs if part in name]
    return name, rig.claims.blobs.pop(name)


async def discard(rig: Rig, number: int) -> tuple[Discard, RedriveSummary]:
    name = f"{number}/{event(number).enqueued_ms}"
    decision = await Discard.decide(
        *(rig.reader, rig.claims, name), own=IDENTITY, by="ann", reason="it is lost"
    )
    redrive = rig.redrive(discard=decision)
    return decision, await redrive.run(Selection(id=decision.message.id))


async def record_of(rig: Rig, decision: Discard) -> dict[str, object]:
    found: dict[str, object] = json.loads(await rig.claims.get_bytes(ClaimCheck("", decision.blob)))
    return found


async def park_behind_a_lost_body(rig: Rig) -> None:
    """Park key "a" behind event 0, whose body is lost, and key "b" behind event 3."""
    rig.bad = {0, 3}
    keys = [("a", LARGE), ("a", b"1"), ("a", b"2"), ("b", LARGE), ("b", b"4")]
    events = [event(number, key, body=body) for number, (key, body) in enumerate(keys)]
    await rig.processor().process(batch(events))
    rig.bad.clear()
    await lose(rig, "/0/0-")


async def test_redrive_reports_a_lost_body_and_replays_other_keys() -> None:
    """The failure has the id that `discard` takes, and the lost event's key stays parked."""
    async with open_rig() as rig:
        await park_behind_a_lost_body(rig)
        summary = await rig.redrive().run()
        assert (summary.replayed, summary.released, summary.left) == (2, 1, 2)
        (failure,) = summary.failed
        (message,) = rig.poison.messages
        assert (failure.id, failure.key, failure.type) == (message.id, "a", "BodyLostError")
        assert "is gone" in failure.message
        assert rig.handled == [3, 4]
        assert await rig.parked() == [0, 1, 2]


async def test_discard_of_a_lost_body_releases_its_parked_key() -> None:
    """The record says that the body is lost, and the events behind it are handled in order."""
    async with open_rig() as rig:
        await park_behind_a_lost_body(rig)
        decision, summary = await discard(rig, 0)
        assert decision.recorded
        assert (summary.complete, summary.replayed, summary.released) == (True, 3, 1)
        assert rig.handled == [1, 2]
        assert rig.poisoned == [3]
        assert await rig.parked() == [3, 4]
        record = await record_of(rig, decision)
        assert "is gone" in str(record["body_lost"])
        kept = record["message"]
        assert isinstance(kept, dict)
        assert (kept["id"], kept["body"], kept["error"]["message"]) == (
            decision.message.id,
            None,
            "bad",
        )


async def test_discard_of_a_lost_body_without_a_parked_key_removes_the_message() -> None:
    """The discard is recorded, and no event is replayed."""
    async with open_rig() as rig:
        rig.bad = {0}
        events = [event(0, "a", body=LARGE), event(1, "a")]
        await rig.processor(poison_ordering="skip").process(batch(events))
        await lose(rig, "/0/0-")
        decision, summary = await discard(rig, 0)
        assert (decision.recorded, summary.complete, rig.poison.messages) == (True, True, [])
        assert rig.handled == [1]


async def test_lost_parked_event_goes_to_the_poison_queue() -> None:
    """The event's key waits until the event is discarded, and then continues in order."""
    async with open_rig() as rig:
        rig.bad = {0}
        bodies = [b"0", b"1", LARGE, b"3"]
        events = [event(number, "a", body=body) for number, body in enumerate(bodies)]
        await rig.processor().process(batch(events))
        rig.bad.clear()
        await lose(rig, "/2-")
        for _ in range(2):  # the second redrive adds no second message
            summary = await rig.redrive().run()
            (failure,) = summary.failed
            (message,) = rig.poison.messages
            assert (failure.id, failure.type) == (message.id, "BodyLostError")
            assert (message.sequence_number, message.body, message.parked) == (2, None, True)
            assert "is gone" in message.error.message
            assert rig.handled == [0, 1]
            assert await rig.parked(EntryKind.POISON) == [2]
        decision, summary = await discard(rig, 2)
        assert (decision.recorded, summary.complete, summary.released) == (True, True, 1)
        assert (rig.handled, rig.poison.messages) == ([0, 1, 3], [])


async def test_redrive_sends_the_missing_poison_message_of_a_lost_body() -> None:
    """The instance failed after it parked the key and before it sent the message."""
    async with open_rig() as rig:
        await park_behind_a_lost_body(rig)
        ((source, key),) = [
            (each.source, each.key) for each in await rig.store.keys() if each.key == "a"
        ]
        (head,) = await rig.store.entries(source, key, most=1)
        rig.poison.messages.clear()
        await rig.store.lease(source, key, "t", 1000)
        unannounced = EntryKind.UNANNOUNCED + head.document
        await rig.store.replace(source, key, "t", head.position, unannounced)
        await rig.store.release(source, key, "t")
        await rig.redrive().run(Selection(key="a"))
        assert rig.poisoned == [0]
        assert (await discard(rig, 0))[1].complete
        assert rig.handled == [1, 2]


async def test_event_can_be_redriven_after_its_blob_is_restored() -> None:
    """The redrive also removes the poison message that reported the loss."""
    async with open_rig() as rig:
        rig.bad = {0}
        events = [event(0, "a"), event(1, "a", body=LARGE, properties={"n": 1}), event(2, "a")]
        await rig.processor().process(batch(events))
        rig.bad.clear()
        name, held = await lose(rig, "/1-")
        assert not (await rig.redrive().run()).complete
        rig.claims.blobs[name] = held
        assert (await rig.redrive().run()).complete
        assert rig.handled == [0, 1, 2]
        assert rig.events[1] == events[1]
        assert (rig.poison.messages, rig.claims.blobs) == ([], {})


async def test_discard_keeps_a_blob_with_other_content() -> None:
    """The record lacks this content, so that a deletion would lose it."""
    async with open_rig() as rig:
        await park_behind_a_lost_body(rig)
        (check,) = [each.claim_check for each in rig.poison.messages if each.key == "a"]
        assert check is not None
        rig.claims.blobs[check.blob] = b"something else"
        decision, summary = await discard(rig, 0)
        assert "something else" in decision.body_lost_reason
        assert (decision.recorded, summary.complete) == (True, True)
        assert rig.claims.blobs[check.blob] == b"something else"


async def test_storage_outage_is_no_lost_body() -> None:
    """A discard fails during the outage, and the state of a body is unknown."""
    async with open_rig() as rig:
        await park_behind_a_lost_body(rig)

        async def down(*_args: object) -> bytes:
            raise StorageUnavailableError("no answer")

        rig.claims.get_bytes = down  # type: ignore[method-assign, assignment]
        with pytest.raises(StorageUnavailableError, match="no answer"):
            await discard(rig, 0)
        assert await rig.parked() == [0, 1, 2, 3, 4]
        unknown = await states(rig.poison.messages, rig.claims, IDENTITY)
        assert unknown == [BodyState.UNKNOWN] * 2


async def test_states_show_where_each_body_is() -> None:
    """A body is in the queue, in a blob, or lost."""
    async with open_rig() as rig:
        await park_behind_a_lost_body(rig)
        rig.bad = {9}
        await rig.processor().process(batch([event(9, "c")]))
        found = dict(
            zip(
                [message.sequence_number for message in rig.poison.messages],
                await states(rig.poison.messages, rig.claims, IDENTITY),
                strict=True,
            )
        )
        assert found == {0: BodyState.LOST, 3: BodyState.BLOB, 9: BodyState.QUEUE}


@pytest.mark.parametrize(
    "held",
    [
        b"\xff",
        b"[]",
        b'{"version": 1}',
        b'{"version": 9}',
        b"",
        b'{"body": "", "properties": {}}',
        b'{"version": 3, "body": "", "properties": {}}',
        b'{"version": 9, "partition": "0", "sequence_number": 0, "body": "", "properties": {}}',
        b'{"version": 3, "partition": "0", "sequence_number": 1, "body": "", "properties": {}}',
        b'{"version": 3, "partition": "1", "sequence_number": 0, "body": "", "properties": {}}',
        b'{"version": 3, "partition": "0", "sequence_number": 0, "body": "-", "properties": {}}',
        b'{"version": 3, "namespace": "ns.example.net", "hub": "events", '
        b'"consumer_group": "audit", "pipeline": "default", "partition": "0", '
        b'"sequence_number": 0, "body": "", "properties": {}}',
    ],
)
async def test_blob_without_the_event_counts_as_lost(held: bytes) -> None:
    """An empty body and the body of another event, app or version are not replayed."""
    async with open_rig() as rig:
        await park_behind_a_lost_body(rig)
        (message,) = [each for each in rig.poison.messages if each.key == "a"]
        assert isinstance(message, PoisonMessage)
        assert message.claim_check is not None
        rig.claims.blobs[message.claim_check.blob] = held
        with pytest.raises(BodyLostError, match="holds something else"):
            await with_body(message, rig.claims)
