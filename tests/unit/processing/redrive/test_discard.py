"""Discarding a poisoned event: on record first, then gone, and its key goes on in order."""

from __future__ import annotations

import asyncio
import json

from processing.errors import StorageUnavailableError
from processing.parking.batch import Parking
from processing.poison.memory import MemoryClaimChecks
from processing.poison.message import ClaimCheck
from processing.redrive.discard import Discard
from processing.redrive.selection import Selection
from processing.redrive.summary import RedriveSummary
from tests.support.processing.events import batch
from tests.support.processing.parking_rig import Rig, keyed, rig


async def decide(made: Rig, sequence_number: int) -> Discard:
    name = f"{sequence_number}/{1_700_000_000_000 + sequence_number}"
    return await Discard.decide(made.reader, made.claims, name, by="ann", reason="can never be")


async def carry_out(
    made: Rig, decision: Discard, claims: MemoryClaimChecks | None = None
) -> RedriveSummary:
    parking = Parking(made.store, claims or made.claims)
    redrive = made.redrive(parking=parking, discard=decision)
    return await redrive.run(Selection(id=decision.message.id))


async def test_a_parked_key_goes_on() -> None:
    """The event is not handled, those behind it are, in order; the record holds it whole."""
    async with rig() as made:
        made.bad = {1}
        await made.processor().process(batch(keyed("a", "a", "b", "a", "a")))
        decision = await decide(made, 1)
        summary = await carry_out(made, decision)
        assert decision.recorded
        assert (summary.complete, summary.released) == (True, 1)
        assert made.handled == [0, 2, 3, 4]
        assert made.poison.messages == []
        assert await made.store.keys() == []
        record = json.loads(await made.claims.get_bytes(ClaimCheck("", decision.blob)))
        assert (record["by"], record["reason"]) == ("ann", "can never be")
        assert (record["message"]["id"], record["message"]["body"]) == (
            decision.message.id,
            decision.message.body,
        )


async def test_a_message_whose_key_went_on() -> None:
    """Without parking the message goes, and no other of its key."""
    async with rig() as made:
        made.bad = {0, 1}
        await made.processor(poison_ordering="skip").process(batch(keyed("a", "a", "a")))
        decision = await decide(made, 1)
        summary = await carry_out(made, decision)
        assert (decision.recorded, summary.complete) == (True, True)
        assert made.handled == [2]
        assert made.poisoned == [0]


async def test_what_fails_behind_it_is_not_discarded_with_it() -> None:
    """The next event that fails stops the key in its turn, and takes a decision of its own."""
    async with rig() as made:
        made.bad = {0, 1}
        await made.processor().process(batch(keyed("a", "a", "a")))
        first = await decide(made, 0)
        summary = await carry_out(made, first)
        assert (first.recorded, summary.complete) == (True, False)
        assert (made.handled, made.poisoned) == ([], [1])
        second = await decide(made, 1)
        summary = await carry_out(made, second)
        assert (second.recorded, summary.complete) == (True, True)
        assert (made.handled, made.poisoned) == ([2], [])


async def test_what_cannot_be_recorded_stays() -> None:
    """No record, no discard: nothing of the key moves."""

    class Down(MemoryClaimChecks):
        async def put_bytes(self, name: str, data: bytes) -> ClaimCheck:
            raise StorageUnavailableError("no container")

    async with rig() as made:
        made.bad = {0}
        await made.processor().process(batch(keyed("a", "a")))
        decision = await decide(made, 0)
        summary = await carry_out(made, decision, Down())
        assert not decision.recorded
        assert "no container" in summary.stopped
        assert (made.handled, made.poisoned) == ([], [0])
        assert [each.entries for each in await made.store.keys()] == [2]


async def test_beside_a_redrive_and_arrivals() -> None:
    """Either of them has the key, and each event behind is handled once, in order."""
    async with rig() as made:
        made.bad = {0}
        await made.processor().process(batch(keyed("a", "a")))
        decision = await decide(made, 0)
        await asyncio.gather(
            carry_out(made, decision),
            made.redrive().run(),
            made.processor().process(batch(keyed("a", "a", first=2))),
        )
        if not decision.recorded:  # the other redrive was first, and failed
            await carry_out(made, decision)
        assert decision.recorded
        assert made.handled == [1, 2, 3]
        await made.redrive().run()  # what it had put back is a stale copy now
        assert made.poison.messages == []
