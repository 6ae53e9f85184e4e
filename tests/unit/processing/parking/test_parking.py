"""Parking of a key behind its poisoned event, until a redrive replays the key in order."""

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
from processing.identity import Source
from processing.parking.event import ParkedEvent, position_of
from processing.parking.store import EntryKind, WritingAs
from processing.poison.message import PoisonMessage
from processing.progress.store import Mark
from tests.support.processing.events import IDENTITY, SOURCE, batch, event
from tests.support.processing.parking_rig import keyed, of_key, open_rig, turns


async def test_poisoned_event_parks_the_rest_of_its_key() -> None:
    """Other keys are handled as usual."""
    async with open_rig() as rig:
        rig.bad = {2}
        result = await rig.processor().process(batch(keyed(*"abaabab")))
        assert sorted(rig.handled) == [0, 1, 4, 6]
        assert (result.handled, result.poisoned, result.parked, result.skipped) == (4, 1, 2, 0)
        assert rig.poisoned == [2]
        assert await rig.parked(EntryKind.EVENT) == [3, 5]
        assert await rig.parked(EntryKind.POISON) == [2]
        (message,) = rig.poison.messages
        assert message.parked
        known = await rig.progress.load(SOURCE)
        assert known.watermark == Mark(6, event(6).enqueued_ms), "a parked event counts as finished"


async def test_later_batches_of_a_parked_key_are_parked() -> None:
    """Another processor parks the events, in several calls to the store."""
    async with open_rig() as rig:
        rig.bad = {0}
        await rig.processor().process(batch(keyed("a")))
        later = await rig.processor().process(batch(keyed(*["a"] * 450, "b", first=1)))
        assert (later.parked, later.handled) == (450, 1)
        assert await rig.parked() == list(range(451))


async def test_skip_leaves_the_key_running() -> None:
    """The default ordering parks nothing."""
    async with open_rig() as rig:
        rig.bad = {0}
        result = await rig.processor(poison_ordering="skip").process(batch(keyed("a", "a")))
        assert (rig.handled, result.poisoned, result.parked) == ([1], 1, 0)
        assert await rig.parked() == []


async def test_keyless_events_are_parked_only_when_they_are_ordered() -> None:
    """Keyless events are one lane by default, and have no order with keyless_order "none"."""
    async with open_rig() as rig:
        rig.bad = {0}
        result = await rig.processor().process(batch(keyed(None, "", None)))
        assert (rig.handled, result.poisoned, result.parked) == ([1], 1, 1)
        await rig.redrive().run()
        free = rig.processor(keyless_order="none")
        rig.bad = {10}
        result = await free.process(batch(keyed(None, None, first=10)))
        assert (result.handled, result.poisoned, result.parked) == (1, 1, 0)


def test_each_parked_event_has_its_own_blob() -> None:
    """The blob's name has the hub, group, partition, sequence number and enqueued time."""
    alike = [
        ParkedEvent(event(1)),
        ParkedEvent(event(2)),
        ParkedEvent(event(1, enqueued_ms=1)),
        ParkedEvent(event(1, source=replace(SOURCE, partition="1"))),
        *(
            ParkedEvent(event(1, source=Source(replace(IDENTITY, **{name: "other"}), "0")))
            for name in ("namespace", "hub", "consumer_group", "pipeline")
        ),
    ]
    assert len({each.blob_name for each in alike}) == len(alike)


async def test_parking_returns_the_half_open_permit() -> None:
    """A parked event gives no evidence about the dependency."""
    async with open_rig(half_open_permits=1, failure_threshold=1) as rig:
        rig.bad = {0}
        await rig.processor().process(batch(keyed("a")))
        permit = await rig.breaker.try_acquire()
        await rig.breaker.record_failure("1", "test", permit)
        await rig.breaker.approve(1, "op")
        result = await rig.processor(max_lanes=1).process(batch(keyed("a", "b", first=1)))
        assert (result.parked, result.handled) == (1, 1)
        assert rig.breaker.circuit.admits


async def test_parked_properties_without_a_json_form_become_text() -> None:
    """The parked list uses the text form of the poison queue."""
    async with open_rig() as rig:
        rig.bad = {0}
        odd = event(1, "a", properties={"bytes": b"\xff", "set": {1}})
        await rig.processor().process(batch([event(0, "a"), odd]))
        rig.bad.clear()
        assert (await rig.redrive().run()).replayed == 2
        assert rig.events[1].properties == {"bytes": "\\xff", "set": "{1}"}


async def test_large_parked_events_are_stored_in_blobs() -> None:
    """A redrive restores the events unchanged and deletes their blobs."""
    async with open_rig() as rig:
        rig.bad = {0}
        large = [event(n, "a", body=bytes([n]) * 1_000_000) for n in range(3)]
        await rig.processor().process(batch(large))
        assert len(rig.claims.blobs) == 3
        entries = await rig.store.entries(SOURCE, "a")
        assert max(len(entry.document) for entry in entries) < 48 * 1024
        rig.bad.clear()
        assert (await rig.redrive().run()).replayed == 3
        assert [rig.events[n] for n in range(3)] == large
        assert rig.claims.blobs == {}


async def test_repeated_parking_after_a_redrive_parks_nothing() -> None:
    """The first call's answer is lost, and a redrive replays the event before the retry."""
    async with open_rig() as rig:
        rig.bad = {0}
        poison = rig.store.poison
        answers: list[str | None] = []

        async def lost(*args: Any) -> str | None:
            answers.append(await poison(*args))
            if len(answers) > 1:
                return answers[-1]
            rig.bad.clear()
            assert (await rig.redrive().run()).released == 1
            raise StorageUnavailableError("the answer is lost")

        rig.store.poison = lost  # type: ignore[method-assign, assignment]
        result = await rig.processor(hold_seconds=60.0).process(batch(keyed("a", "a")))
        assert (result.poisoned, result.handled) == (1, 1)
        assert (rig.handled, rig.poisoned, await rig.parked()) == ([0, 1], [], [])


async def test_event_with_an_earlier_time_than_a_replayed_event_is_handled() -> None:
    """The hub's clock may go back, so an earlier time does not mark an event as replayed."""
    async with open_rig() as rig:
        rig.bad = {1}
        early = event(2, "a", enqueued_ms=event(1).enqueued_ms - 5)
        events = [event(0, "b"), event(1, "a")]

        async def down(each: Event) -> None:
            if each.key == "b":
                await turns(20)
                raise DependencyUnavailableError("down")

        rig.before = down
        with pytest.raises(DependencyUnavailableError):
            await rig.processor().process(batch(events))
        rig.before = None
        rig.bad.clear()
        assert (await rig.redrive().run()).released == 1
        await rig.processor().process(batch([*events, early]))
        assert sorted(rig.handled) == [0, 1, 2]


async def test_parked_events_with_falling_times_are_handled_once() -> None:
    """The parked list is sorted by enqueued time, so the order of these events is not promised."""
    async with open_rig() as rig:
        rig.bad = {0}
        events = [event(n, "a", enqueued_ms=1_700_000_000_000 + n - 3 * (n > 2)) for n in range(6)]
        await rig.processor().process(batch(events))
        await rig.processor().process(batch(events))  # redelivered before the checkpoint
        rig.bad.clear()
        summary = await rig.redrive().run()
        assert (summary.replayed, summary.released, summary.left) == (6, 1, 0)
        assert sorted(rig.handled) == list(range(6))
        assert (rig.poisoned, await rig.parked()) == ([], [])


async def test_redelivery_after_a_crash_sends_the_stored_poison_message() -> None:
    """The handler is not called again.

    The first instance parked the key and failed before it sent the message to the poison queue.
    """

    class UnavailableQueue:
        async def put(self, message: PoisonMessage) -> None:
            raise StorageUnavailableError("queue is down")

    async with open_rig() as rig:
        rig.bad = {0}
        events = keyed("a", "a")
        crashing = rig.processor()
        crashing.parts = replace(crashing.parts, poison=UnavailableQueue())
        with pytest.raises(StorageUnavailableError):
            await crashing.process(batch(events))
        assert await rig.parked(EntryKind.UNANNOUNCED) == [0]
        rig.bad.clear()  # the handler would succeed now, but must not be called
        result = await rig.processor().process(batch(events))
        assert (result.poisoned, result.parked, rig.handled) == (1, 1, [])
        assert rig.poisoned == [0]
        assert await rig.parked(EntryKind.POISON) == [0]


@pytest.mark.parametrize("survived", [0, 1, 2, 3])
async def test_redelivery_of_parked_events_changes_nothing(survived: int) -> None:
    """The instance crashed before it wrote the progress of all events."""
    async with open_rig() as rig:
        rig.bad = {0}
        events = keyed(*"aaab")
        await rig.processor().process(batch(events))
        await rig.progress.reset(SOURCE)
        finished = [Mark(each.sequence_number, each.enqueued_ms) for each in events[:survived]]
        owner = (await rig.store.claim(SOURCE)).owner
        await rig.progress.commit(SOURCE, owner, None, finished)
        result = await rig.processor().process(batch(events))
        assert result.poisoned == (survived == 0)
        assert result.parked == 2 - max(0, survived - 1)
        assert await rig.parked() == [0, 1, 2]
        assert len(rig.poison.messages) == 1


async def test_redelivered_events_that_were_redriven_are_skipped() -> None:
    """The parking store has the replayed position, although progress was reset."""
    async with open_rig() as rig:
        rig.bad = {0}
        events = keyed(*"aaa")
        await rig.processor().process(batch(events))
        rig.bad.clear()
        await rig.redrive().run()
        assert rig.handled == [0, 1, 2]
        await rig.progress.reset(SOURCE)
        result = await rig.processor().process(batch([*events, *keyed("a", first=3)]))
        assert rig.handled == [0, 1, 2, 3]
        assert (result.skipped, result.handled) == (3, 1)


@pytest.mark.parametrize("redelivered", [False, True], ids=["new events", "redelivered events"])
async def test_lane_handles_events_again_after_its_key_is_released(redelivered: bool) -> None:
    """The store's reply has the last replayed position, and the lane continues behind it."""
    async with open_rig() as rig:
        rig.bad = {0}
        await rig.processor().process(batch(keyed("a", "a")))
        rig.bad.clear()
        if redelivered:  # the instance crashed before it wrote the progress
            rig.progress._known.clear()
        claimed, resume = asyncio.Event(), asyncio.Event()
        claim = rig.store.claim

        async def claim_then_wait(*args, **options):  # type: ignore[no-untyped-def]
            found = await claim(*args, **options)
            claimed.set()
            await resume.wait()
            return found

        rig.store.claim = claim_then_wait  # type: ignore[method-assign]
        events = keyed(*"aaaab")
        running = asyncio.create_task(rig.processor().process(batch(events)))
        await claimed.wait()
        assert (await rig.redrive().run()).released == 1
        resume.set()
        result = await running
        assert (result.handled, result.parked, result.skipped) == (3, 0, 2)
        assert of_key(rig.handled, events, "a") == [0, 1, 2, 3]


async def test_event_that_arrives_at_any_step_of_a_redrive_keeps_the_order() -> None:
    """The event is handled behind the parked events, and is neither lost nor left parked."""
    for moment in range(60):
        async with open_rig() as rig:
            rig.bad = {0}
            await rig.processor().process(batch(keyed("a", "a")))
            rig.bad.clear()
            redriving = asyncio.create_task(rig.redrive().run())
            await turns(moment)
            result = await rig.processor().process(batch(keyed("a", "a", first=2)))
            await redriving
            assert result.handled + result.parked == 2
            assert rig.handled == [0, 1, 2, 3], f"after {moment} turns"
            assert await rig.store.keys() == []


async def test_released_key_can_be_parked_again() -> None:
    """A second poisoned event parks the key in the same lane that handled events again."""
    async with open_rig() as rig:
        rig.bad = {0, 3}
        await rig.processor().process(batch(keyed("a")))
        rig.bad = {3}
        await rig.redrive().run()
        result = await rig.processor().process(batch(keyed(*"aaaaa", first=1)))
        assert (result.handled, result.poisoned, result.parked) == (2, 1, 2)
        assert rig.handled == [0, 1, 2]
        assert await rig.parked() == [3, 4, 5]


async def test_earlier_owner_parks_nothing() -> None:
    """An instance that lost the partition stores no verdict; the new owner's verdict counts."""
    started, release = asyncio.Event(), asyncio.Event()

    async def hang(each: Event) -> None:
        if not started.is_set():
            started.set()
            await release.wait()
            rig.bad.add(each.sequence_number)

    async with open_rig() as rig:
        rig.before = hang
        events = keyed("a", "a")
        late = asyncio.create_task(rig.processor().process(batch(events)))
        await started.wait()
        await rig.processor().process(batch(events))
        assert rig.handled == [0, 1]
        release.set()
        with pytest.raises(OwnershipLostError):
            await late
        assert await rig.parked() == []
        assert rig.poison.messages == []


async def test_open_circuit_holds_parking() -> None:
    """A batch of parked events alone must not move the checkpoint past an open circuit."""
    async with open_rig() as rig:
        rig.bad = {0}
        await rig.processor().process(batch(keyed("a")))
        await rig.breaker.isolate("op", "test")
        with pytest.raises(CircuitOpenError):
            await rig.processor().process(batch(keyed("a", first=1)))
        assert await rig.parked() == [0]


async def test_full_parked_list_leaves_the_remaining_events_unfinished() -> None:
    """The batch fails, and its events are handled in order after a redrive."""
    async with open_rig() as rig:
        rig.store._limits = (2, *rig.store._limits[1:])
        rig.bad = {0}
        with pytest.raises(StorageUnavailableError, match="PROCESSING_PARKED_EVENTS_MAX"):
            await rig.processor().process(batch(keyed(*"aaaaa")))
        assert await rig.parked() == [0, 1]
        rig.bad.clear()
        await rig.redrive().run()
        await rig.processor().process(batch(keyed(*"aaaaa")))
        assert rig.handled == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("size", [1, 100_000], ids=["inline", "in a blob"])
async def test_redrive_handles_the_whole_event_again(size: int) -> None:
    """Poisoned and parked events keep their properties, system properties, offset and id."""
    async with open_rig() as rig:
        rig.bad = {0}
        sent = [
            event(
                number,
                "a",
                body=bytes([number]) * size,
                properties={"n": 2**63 + number},
                system_properties={
                    "content-type": "avro/binary",
                    "correlation-id": "c",
                    "message-id": f"m{number}",
                    "iothub-connection-device-id": "dev1",
                },
                offset="5:77:1",
            )
            for number in range(3)
        ]
        await rig.processor().process(batch(sent))
        rig.bad.clear()
        assert (await rig.redrive().run()).replayed == 3
        assert [rig.events[number] for number in range(3)] == sent
        assert [rig.events[number].message_id for number in range(3)] == ["m0", "m1", "m2"]
        with pytest.raises(TypeError, match="cannot be changed"):
            rig.events[1].system_properties["x"] = 1  # type: ignore[index]


async def test_entry_that_cannot_be_read_does_not_stop_its_partition(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The redelivered event goes to the poison queue whole, and the log names it."""
    async with open_rig() as rig:
        events = keyed("a", "a", "b")
        earlier = WritingAs((await rig.store.claim(SOURCE)).owner, "")
        await rig.store.poison(earlier, SOURCE, "a", position_of(events[0]), "{}")
        result = await rig.processor().process(batch(events))
        assert (result.poisoned, result.parked, rig.handled) == (1, 1, [2])
        (message,) = rig.poison.messages
        assert (message.id, message.payload) == (events[0].id, events[0].body)
        assert f"Event {message.id}: its entry in the parked list cannot be read" in caplog.text
        summary = await rig.redrive().run()
        assert (summary.replayed, len(summary.failed), rig.poisoned) == (0, 1, [0])
