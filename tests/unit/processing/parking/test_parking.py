"""A poisoned event parks its key: what comes behind waits, in order, until a redrive."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from breaker import CircuitOpenError
from processing.errors import (
    DependencyUnavailableError,
    OwnershipLostError,
    StorageUnavailableError,
)
from processing.event import Event
from processing.parking.event import ParkedEvent
from processing.parking.store import EntryKind
from processing.poison.message import PoisonMessage
from processing.progress.store import Mark
from tests.support.processing.events import SOURCE, batch, event
from tests.support.processing.parking_rig import keyed, of_key, rig, turns


async def test_the_rest_of_the_key_is_parked() -> None:
    """Behind a poisoned event its key waits, and no other."""
    async with rig() as made:
        made.bad = {2}
        result = await made.processor().process(batch(keyed(*"abaabab")))
        assert sorted(made.handled) == [0, 1, 4, 6]
        assert (result.handled, result.poisoned, result.parked, result.skipped) == (4, 1, 2, 0)
        assert made.poisoned == [2]
        assert await made.parked(EntryKind.EVENT) == [3, 5]
        assert await made.parked(EntryKind.POISON) == [2]
        (message,) = made.poison.messages
        assert message.parked
        known = await made.progress.load(SOURCE)
        assert known.watermark == Mark(6, event(6).enqueued_ms), "parked is finished"


async def test_later_batches_are_parked_too() -> None:
    """Also by another instance, and more than one call takes along."""
    async with rig() as made:
        made.bad = {0}
        await made.processor().process(batch(keyed("a")))
        later = await made.processor().process(batch(keyed(*["a"] * 450, "b", first=1)))
        assert (later.parked, later.handled) == (450, 1)
        assert await made.parked() == list(range(451))


async def test_skip_parks_nothing() -> None:
    """By default the key goes on, and the parking store is not even asked."""
    async with rig() as made:
        made.bad = {0}
        made.parking.store = None  # type: ignore[assignment]
        result = await made.processor(poison_ordering="skip").process(batch(keyed("a", "a")))
        assert (made.handled, result.poisoned, result.parked) == ([1], 1, 0)


async def test_events_without_a_key() -> None:
    """They are one ordered lane, and parked as such; without order there is nothing to park."""
    async with rig() as made:
        made.bad = {0}
        result = await made.processor().process(batch(keyed(None, "", None)))
        assert (made.handled, result.poisoned, result.parked) == ([1], 1, 1)
        await made.redrive().run()
        free = made.processor(keyless_order="none")
        made.bad = {10}
        result = await free.process(batch(keyed(None, None, first=10)))
        assert (result.handled, result.poisoned, result.parked) == (1, 1, 0)


def test_each_parked_event_has_its_own_blob() -> None:
    """However alike two events are, neither is written over the other."""
    alike = [
        ParkedEvent(SOURCE, event(1)),
        ParkedEvent(SOURCE, event(2)),
        ParkedEvent(SOURCE, event(1, enqueued_ms=1)),
        ParkedEvent(replace(SOURCE, partition="1"), event(1, partition="1")),
        ParkedEvent(replace(SOURCE, consumer_group="other"), event(1)),
        ParkedEvent(replace(SOURCE, hub="other"), event(1)),
    ]
    assert len({each.blob_name for each in alike}) == len(alike)


async def test_parking_gives_probes_back() -> None:
    """In HALF_OPEN an event that is parked says nothing about the dependency."""
    async with rig(half_open_permits=1, failure_threshold=1) as made:
        made.bad = {0}
        await made.processor().process(batch(keyed("a")))
        permit = await made.breaker.try_acquire()
        await made.breaker.record_failure("1", "test", permit)
        await made.breaker.approve(1, "op")
        result = await made.processor(max_lanes=1).process(batch(keyed("a", "b", first=1)))
        assert (result.parked, result.handled) == (1, 1)
        assert made.breaker.circuit.admits


async def test_properties_without_a_json_form() -> None:
    """They become text in the parked list, as in the poison queue; the event waits all the same."""
    async with rig() as made:
        made.bad = {0}
        odd = event(1, "a", properties={"bytes": b"\xff", "set": {1}})
        await made.processor().process(batch([event(0, "a"), odd]))
        made.bad.clear()
        assert (await made.redrive().run()).replayed == 2
        assert made.events[1].properties == {"bytes": "\\xff", "set": "{1}"}


async def test_large_events() -> None:
    """What is too large for the lists lies in blobs, and comes back as it was."""
    async with rig() as made:
        made.bad = {0}
        large = [event(n, "a", body=bytes([n]) * 1_000_000) for n in range(3)]
        await made.processor().process(batch(large))
        assert len(made.claims.blobs) == 3
        entries = await made.store.entries(SOURCE, "a")
        assert max(len(entry.document) for entry in entries) < 48 * 1024
        made.bad.clear()
        assert (await made.redrive().run()).replayed == 3
        assert [made.events[n] for n in range(3)] == large
        assert made.claims.blobs == {}


async def test_a_lost_answer_and_a_quick_redrive() -> None:
    """An event whose parking is repeated after a redrive has replayed it is not parked again."""
    async with rig() as made:
        made.bad = {0}
        poison = made.store.poison
        answers: list[str | None] = []

        async def lost(*args: Any) -> str | None:
            answers.append(await poison(*args))
            if len(answers) > 1:
                return answers[-1]
            made.bad.clear()
            assert (await made.redrive().run()).released == 1
            raise StorageUnavailableError("the answer is lost")

        made.store.poison = lost  # type: ignore[method-assign, assignment]
        result = await made.processor(hold_seconds=60.0).process(batch(keyed("a", "a")))
        assert (result.poisoned, result.handled) == (1, 1)
        assert (made.handled, made.poisoned, await made.parked()) == ([0, 1], [], [])


async def test_a_hub_whose_clock_went_back() -> None:
    """An event behind a replayed one is handled even if the hub says that it came before it."""
    async with rig() as made:
        made.bad = {1}
        early = event(2, "a", enqueued_ms=event(1).enqueued_ms - 5)
        events = [event(0, "b"), event(1, "a")]

        async def down(each: Event) -> None:
            if each.key == "b":
                await turns(20)
                raise DependencyUnavailableError("down")

        made.before = down
        with pytest.raises(DependencyUnavailableError):
            await made.processor().process(batch(events))
        made.before = None
        made.bad.clear()
        assert (await made.redrive().run()).released == 1
        await made.processor().process(batch([*events, early]))
        assert sorted(made.handled) == [0, 1, 2]


async def test_a_hub_whose_clock_went_back_while_events_were_parked() -> None:
    """The list goes by time, so their order is not promised; each is handled, and once only."""
    async with rig() as made:
        made.bad = {0}
        events = [event(n, "a", enqueued_ms=1_700_000_000_000 + n - 3 * (n > 2)) for n in range(6)]
        await made.processor().process(batch(events))
        await made.processor().process(batch(events))  # not checkpointed yet
        made.bad.clear()
        summary = await made.redrive().run()
        assert (summary.replayed, summary.released, summary.left) == (6, 1, 0)
        assert sorted(made.handled) == list(range(6))
        assert (made.poisoned, await made.parked()) == ([], [])


async def test_crash_before_the_poison_queue() -> None:
    """If the instance dies with the key parked and no message sent, the next delivery sends the
    message that was written down, without asking the handler again.
    """

    class Dying:
        async def put(self, message: PoisonMessage) -> None:
            raise StorageUnavailableError("dead")

    async with rig() as made:
        made.bad = {0}
        events = keyed("a", "a")
        dying = made.processor()
        dying.parts = replace(dying.parts, poison=Dying())
        with pytest.raises(StorageUnavailableError):
            await dying.process(batch(events))
        assert await made.parked(EntryKind.UNANNOUNCED) == [0]
        made.bad.clear()  # the handler would take it now, in front of nothing
        result = await made.processor().process(batch(events))
        assert (result.poisoned, result.parked, made.handled) == (1, 1, [])
        assert made.poisoned == [0]
        assert await made.parked(EntryKind.POISON) == [0]


@pytest.mark.parametrize("survived", [0, 1, 2, 3])
async def test_crash_before_progress(survived: int) -> None:
    """A redelivery of what is poisoned and parked changes nothing: same list, same queue."""
    async with rig() as made:
        made.bad = {0}
        events = keyed(*"aaab")
        await made.processor().process(batch(events))
        await made.progress.reset(SOURCE)
        finished = [Mark(each.sequence_number, each.enqueued_ms) for each in events[:survived]]
        owner = (await made.progress.open(SOURCE)).owner
        await made.progress.commit(SOURCE, owner, None, finished)
        result = await made.processor().process(batch(events))
        assert result.poisoned == (survived == 0)
        assert result.parked == 2 - max(0, survived - 1)
        assert await made.parked() == [0, 1, 2]
        assert len(made.poison.messages) == 1


async def test_redelivery_after_the_redrive() -> None:
    """What a redrive has replayed is not handled again, though progress did not know of it."""
    async with rig() as made:
        made.bad = {0}
        events = keyed(*"aaa")
        await made.processor().process(batch(events))
        made.bad.clear()
        await made.redrive().run()
        assert made.handled == [0, 1, 2]
        await made.progress.reset(SOURCE)
        result = await made.processor().process(batch([*events, *keyed("a", first=3)]))
        assert made.handled == [0, 1, 2, 3]
        assert (result.skipped, result.handled) == (3, 1)


@pytest.mark.parametrize("redelivered", [False, True])
async def test_release_in_the_middle_of_a_lane(redelivered: bool) -> None:
    """A lane that believes its key parked learns of the release, and of how far the key was
    replayed, and goes on from there by itself.
    """
    async with rig() as made:
        made.bad = {0}
        await made.processor().process(batch(keyed("a", "a")))
        made.bad.clear()
        if redelivered:
            await made.progress.reset(SOURCE)
        claimed, go_on = asyncio.Event(), asyncio.Event()
        claim = made.store.claim

        async def claim_then_wait(*args):  # type: ignore[no-untyped-def]
            found = await claim(*args)
            claimed.set()
            await go_on.wait()
            return found

        made.store.claim = claim_then_wait  # type: ignore[method-assign]
        events = keyed(*"aaaab")
        running = asyncio.create_task(made.processor().process(batch(events)))
        await claimed.wait()
        assert (await made.redrive().run()).released == 1
        go_on.set()
        result = await running
        assert (result.handled, result.parked, result.skipped) == (3, 0, 2)
        assert of_key(made.handled, events, "a") == [0, 1, 2, 3]


async def test_no_window_at_the_release() -> None:
    """At whatever moment of a redrive the next event comes, it is handled behind what waits, and
    it is neither lost nor left behind.
    """
    for moment in range(60):
        async with rig() as made:
            made.bad = {0}
            await made.processor().process(batch(keyed("a", "a")))
            made.bad.clear()
            redriving = asyncio.create_task(made.redrive().run())
            await turns(moment)
            result = await made.processor().process(batch(keyed("a", "a", first=2)))
            await redriving
            assert result.handled + result.parked == 2
            assert made.handled == [0, 1, 2, 3], f"after {moment} turns"
            assert await made.store.keys() == []


async def test_a_key_can_be_parked_again() -> None:
    """In the same lane, after its release."""
    async with rig() as made:
        made.bad = {0, 3}
        await made.processor().process(batch(keyed("a")))
        made.bad = {3}
        await made.redrive().run()
        result = await made.processor().process(batch(keyed(*"aaaaa", first=1)))
        assert (result.handled, result.poisoned, result.parked) == (2, 1, 2)
        assert made.handled == [0, 1, 2]
        assert await made.parked() == [3, 4, 5]


async def test_an_earlier_owner_parks_nothing() -> None:
    """An instance that lost the partition in the middle of an event ends without a verdict on
    it: the new owner's counts.
    """
    started, release = asyncio.Event(), asyncio.Event()

    async def hang(each: Event) -> None:
        if not started.is_set():
            started.set()
            await release.wait()
            made.bad.add(each.sequence_number)

    async with rig() as made:
        made.before = hang
        events = keyed("a", "a")
        late = asyncio.create_task(made.processor().process(batch(events)))
        await started.wait()
        await made.processor().process(batch(events))
        assert made.handled == [0, 1]
        release.set()
        with pytest.raises(OwnershipLostError):
            await late
        assert await made.parked() == []
        assert made.poison.messages == []


async def test_an_open_circuit_holds_parking_as_well() -> None:
    """A batch of nothing but parked events must not let the checkpoint pass an open circuit."""
    async with rig() as made:
        made.bad = {0}
        await made.processor().process(batch(keyed("a")))
        await made.breaker.isolate("op", "test")
        with pytest.raises(CircuitOpenError):
            await made.processor().process(batch(keyed("a", first=1)))
        assert await made.parked() == [0]


async def test_a_full_list_holds_the_batch() -> None:
    """What can't be parked is not finished, and so is everything behind it."""
    async with rig() as made:
        made.store._most = 2
        made.bad = {0}
        with pytest.raises(StorageUnavailableError, match="PROCESSING_PARKED_EVENTS_MAX"):
            await made.processor().process(batch(keyed(*"aaaaa")))
        assert await made.parked() == [0, 1]
        made.bad.clear()
        await made.redrive().run()
        await made.processor().process(batch(keyed(*"aaaaa")))
        assert made.handled == [0, 1, 2, 3, 4]
