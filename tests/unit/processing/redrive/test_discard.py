"""Discards of poisoned events: the record is written before the event is removed."""

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
from tests.support.processing.events import IDENTITY, batch, event
from tests.support.processing.parking_rig import Rig, keyed, open_rig


async def decide(rig: Rig, sequence_number: int) -> Discard:
    name = f"{sequence_number}/{1_700_000_000_000 + sequence_number}"
    return await Discard.decide(
        *(rig.reader, rig.claims, name), own=IDENTITY, by="ann", reason="can never be"
    )


async def carry_out(
    rig: Rig, decision: Discard, claims: MemoryClaimChecks | None = None
) -> RedriveSummary:
    parking = Parking(rig.store, claims or rig.claims)
    redrive = rig.redrive(parking=parking, discard=decision)
    return await redrive.run(Selection(id=decision.message.id))


async def test_discard_releases_a_parked_key() -> None:
    """The events behind are handled in order, and the record holds the whole event."""
    async with open_rig() as rig:
        rig.bad = {1}
        await rig.processor().process(batch(keyed("a", "a", "b", "a", "a")))
        decision = await decide(rig, 1)
        summary = await carry_out(rig, decision)
        assert decision.recorded
        assert (summary.complete, summary.released) == (True, 1)
        assert rig.handled == [0, 2, 3, 4]
        assert rig.poison.messages == []
        assert await rig.store.keys() == []
        record = json.loads(await rig.claims.get_bytes(ClaimCheck("", decision.blob)))
        assert (record["by"], record["reason"]) == ("ann", "can never be")
        assert (record["message"]["id"], record["message"]["body"]) == (
            decision.message.id,
            decision.message.body,
        )


async def test_discard_without_a_parked_key_removes_one_message() -> None:
    """The other messages of the key stay."""
    async with open_rig() as rig:
        rig.bad = {0, 1}
        await rig.processor(poison_ordering="skip").process(batch(keyed("a", "a", "a")))
        decision = await decide(rig, 1)
        summary = await carry_out(rig, decision)
        assert (decision.recorded, summary.complete) == (True, True)
        assert rig.handled == [2]
        assert rig.poisoned == [0]


async def test_event_that_fails_behind_a_discarded_one_needs_its_own_discard() -> None:
    """The failing event keeps its key parked."""
    async with open_rig() as rig:
        rig.bad = {0, 1}
        await rig.processor().process(batch(keyed("a", "a", "a")))
        first = await decide(rig, 0)
        summary = await carry_out(rig, first)
        assert (first.recorded, summary.complete) == (True, False)
        assert (rig.handled, rig.poisoned) == ([], [1])
        second = await decide(rig, 1)
        summary = await carry_out(rig, second)
        assert (second.recorded, summary.complete) == (True, True)
        assert (rig.handled, rig.poisoned) == ([2], [])


async def test_event_stays_when_its_discard_cannot_be_recorded() -> None:
    """The parked list and the poison queue are unchanged."""

    class Down(MemoryClaimChecks):
        async def write(self, name: str, data: bytes) -> ClaimCheck:
            raise StorageUnavailableError("no container")

    async with open_rig() as rig:
        rig.bad = {0}
        await rig.processor().process(batch(keyed("a", "a")))
        decision = await decide(rig, 0)
        summary = await carry_out(rig, decision, Down())
        assert not decision.recorded
        assert "no container" in summary.stopped
        assert (rig.handled, rig.poisoned) == ([], [0])
        assert [each.entries for each in await rig.store.keys()] == [2]


async def test_discard_beside_a_redrive_and_arrivals_keeps_the_order() -> None:
    """The discard or the redrive holds the key, and each event behind is handled once."""
    async with open_rig() as rig:
        rig.bad = {0}
        await rig.processor().process(batch(keyed("a", "a")))
        decision = await decide(rig, 0)
        await asyncio.gather(
            carry_out(rig, decision),
            rig.redrive().run(),
            rig.processor().process(batch(keyed("a", "a", first=2))),
        )
        if not decision.recorded:  # the other redrive was first, and failed
            await carry_out(rig, decision)
        assert decision.recorded
        assert rig.handled == [1, 2, 3]
        await rig.redrive().run()  # removes the stale copy that the other redrive put back
        assert rig.poison.messages == []


async def test_record_is_json_that_every_program_reads() -> None:
    """NaN is text in the record, and the event's id and system properties are in it."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    async with open_rig() as rig:
        rig.bad = {0}
        odd = event(0, "a", properties={"t": float("nan")}, system_properties={"message-id": "m"})
        await rig.processor().process(batch([odd]))
        record = json.loads((await decide(rig, 0)).record, parse_constant=refuse)
        assert record["message"]["properties"] == {"t": "NaN"}
        assert record["message"]["system_properties"] == {"message-id": "m"}
        assert record["message"]["id"] == odd.id
