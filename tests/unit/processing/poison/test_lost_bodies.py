"""Events whose body lay in a blob that is gone: seen, told of, and given up on demand."""

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
from tests.support.processing.events import batch, event
from tests.support.processing.parking_rig import Rig, rig

LARGE = bytes(100_000)


async def lose(made: Rig, part: str) -> tuple[str, bytes]:
    """Delete the one blob that has this in its name; its name and what it held."""
    (name,) = [name for name in made.claims.blobs if part in name]
    return name, made.claims.blobs.pop(name)


async def discard(made: Rig, number: int) -> tuple[Discard, RedriveSummary]:
    name = f"{number}/{event(number).enqueued_ms}"
    decision = await Discard.decide(made.reader, made.claims, name, by="ann", reason="it is lost")
    redrive = made.redrive(discard=decision)
    return decision, await redrive.run(Selection(id=decision.message.id))


async def record_of(made: Rig, decision: Discard) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        await made.claims.get_bytes(ClaimCheck("", decision.blob))
    )
    return found


async def parked_behind_a_lost_one(made: Rig) -> None:
    """Key "a" waits behind its lost event 0; key "b" behind its event 3, which is whole."""
    made.bad = {0, 3}
    keys = [("a", LARGE), ("a", b"1"), ("a", b"2"), ("b", LARGE), ("b", b"4")]
    events = [event(number, key, body=body) for number, (key, body) in enumerate(keys)]
    await made.processor().process(batch(events))
    made.bad.clear()
    await lose(made, "/0/0/")


async def test_redrive_names_it_and_goes_on_with_others() -> None:
    """By the id that a discard takes, saying what is lost; nothing of its key moves."""
    async with rig() as made:
        await parked_behind_a_lost_one(made)
        summary = await made.redrive().run()
        assert (summary.replayed, summary.released, summary.left) == (2, 1, 2)
        (failure,) = summary.failed
        (message,) = made.poison.messages
        assert (failure.id, failure.key, failure.type) == (message.id, "a", "BodyLostError")
        assert "is gone" in failure.message
        assert made.handled == [3, 4]
        assert await made.parked() == [0, 1, 2]


async def test_a_discard_releases_its_parked_key() -> None:
    """The record says that it lacks the body; what waits behind it is handled, in order."""
    async with rig() as made:
        await parked_behind_a_lost_one(made)
        decision, summary = await discard(made, 0)
        assert decision.recorded
        assert (summary.complete, summary.replayed, summary.released) == (True, 3, 1)
        assert made.handled == [1, 2]
        assert made.poisoned == [3]
        assert await made.parked() == [3, 4]
        record = await record_of(made, decision)
        assert "is gone" in str(record["body_lost"])
        kept = record["message"]
        assert isinstance(kept, dict)
        assert (kept["id"], kept["body"], kept["error"]["message"]) == (
            decision.message.id,
            None,
            "bad",
        )


async def test_a_discard_of_one_whose_key_went_on() -> None:
    """The message leaves the queue, once the decision is on record."""
    async with rig() as made:
        made.bad = {0}
        events = [event(0, "a", body=LARGE), event(1, "a")]
        await made.processor(poison_ordering="skip").process(batch(events))
        made.poison.messages = [await made.claims.shrink(each) for each in made.poison.messages]
        await lose(made, "/0/")
        decision, summary = await discard(made, 0)
        assert (decision.recorded, summary.complete, made.poison.messages) == (True, True, [])
        assert made.handled == [1]


async def test_a_parked_event_that_is_lost_comes_into_the_poison_queue() -> None:
    """There it is seen, and can be given up; the key waits for that, and goes on in order."""
    async with rig() as made:
        made.bad = {0}
        bodies = [b"0", b"1", LARGE, b"3"]
        events = [event(number, "a", body=body) for number, body in enumerate(bodies)]
        await made.processor().process(batch(events))
        made.bad.clear()
        await lose(made, "/2-")
        for _ in range(2):  # the second time it stands in the queue already, and comes no second
            summary = await made.redrive().run()
            (failure,) = summary.failed
            (message,) = made.poison.messages
            assert (failure.id, failure.type) == (message.id, "BodyLostError")
            assert (message.sequence_number, message.body, message.parked) == (2, None, True)
            assert "is gone" in message.error.message
            assert made.handled == [0, 1]
            assert await made.parked(EntryKind.POISON) == [2]
        decision, summary = await discard(made, 2)
        assert (decision.recorded, summary.complete, summary.released) == (True, True, 1)
        assert (made.handled, made.poison.messages) == ([0, 1, 3], [])


async def test_a_lost_one_that_was_not_announced_yet() -> None:
    """Its instance died before it told the poison queue: the redrive does, or nobody could see
    it.
    """
    async with rig() as made:
        await parked_behind_a_lost_one(made)
        ((source, key),) = [
            (each.source, each.key) for each in await made.store.keys() if each.key == "a"
        ]
        (head,) = await made.store.entries(source, key, most=1)
        made.poison.messages.clear()
        await made.store.lease(source, key, "t", 1000)
        unannounced = EntryKind.UNANNOUNCED + head.document
        await made.store.replace(source, key, "t", head.position, unannounced)
        await made.store.release(source, key, "t")
        await made.redrive().run(Selection(key="a"))
        assert made.poisoned == [0]
        assert (await discard(made, 0))[1].complete
        assert made.handled == [1, 2]


async def test_a_blob_that_comes_back() -> None:
    """Whoever restores it redrives as ever, also what came into the queue because of it."""
    async with rig() as made:
        made.bad = {0}
        events = [event(0, "a"), event(1, "a", body=LARGE, properties={"n": 1}), event(2, "a")]
        await made.processor().process(batch(events))
        made.bad.clear()
        name, held = await lose(made, "/1-")
        assert not (await made.redrive().run()).complete
        made.claims.blobs[name] = held
        assert (await made.redrive().run()).complete
        assert made.handled == [0, 1, 2]
        assert made.events[1] == events[1]
        assert (made.poison.messages, made.claims.blobs) == ([], {})


async def test_what_is_on_record_as_lost_is_not_deleted() -> None:
    """It came back, or something else is there: the record does not have it."""
    async with rig() as made:
        await parked_behind_a_lost_one(made)
        (check,) = [each.claim_check for each in made.poison.messages if each.key == "a"]
        assert check is not None
        made.claims.blobs[check.blob] = b"something else"
        decision, summary = await discard(made, 0)
        assert "something else" in decision.body_lost_reason
        assert (decision.recorded, summary.complete) == (True, True)
        assert made.claims.blobs[check.blob] == b"something else"


async def test_an_outage_is_no_loss() -> None:
    """While the container does not answer nothing is given up, and a state is not known."""
    async with rig() as made:
        await parked_behind_a_lost_one(made)

        async def down(*_args: object) -> bytes:
            raise StorageUnavailableError("no answer")

        made.claims.get_bytes = down  # type: ignore[method-assign, assignment]
        made.claims.has = down  # type: ignore[method-assign, assignment]
        with pytest.raises(StorageUnavailableError, match="no answer"):
            await discard(made, 0)
        assert await made.parked() == [0, 1, 2, 3, 4]
        unknown = await states(made.poison.messages, made.claims)
        assert unknown == [BodyState.UNKNOWN] * 2


async def test_where_the_bodies_are() -> None:
    """In the queue, in a blob, or lost."""
    async with rig() as made:
        await parked_behind_a_lost_one(made)
        made.bad = {9}
        await made.processor().process(batch([event(9, "c")]))
        found = dict(
            zip(
                [message.sequence_number for message in made.poison.messages],
                await states(made.poison.messages, made.claims),
                strict=True,
            )
        )
        assert found == {0: BodyState.LOST, 3: BodyState.BLOB, 9: BodyState.QUEUE}


@pytest.mark.parametrize("held", [b"\xff", b"[]", b'{"version": 1}', b'{"version": 9}', b""])
async def test_a_blob_that_holds_something_else(held: bytes) -> None:
    """Is as good as lost, whatever it is."""
    async with rig() as made:
        await parked_behind_a_lost_one(made)
        (message,) = [each for each in made.poison.messages if each.key == "a"]
        assert isinstance(message, PoisonMessage)
        assert message.claim_check is not None
        made.claims.blobs[message.claim_check.blob] = held
        with pytest.raises(BodyLostError, match="holds something else"):
            await with_body(message, made.claims)
