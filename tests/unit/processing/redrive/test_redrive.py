"""Redrives of poisoned and parked events."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from processing.errors import DependencyUnavailableError, StorageUnavailableError
from processing.event import Event
from processing.parking.store import EntryKind
from processing.poison.memory import MemoryPoisonReader
from processing.poison.message import PoisonMessage
from processing.poison.queue import Received
from processing.redrive.held_messages import HeldMessages
from processing.redrive.redrive import Redrive
from processing.redrive.selection import Selection
from tests.support.processing.browsing import browse
from tests.support.processing.events import IDENTITY, SOURCE, batch, event
from tests.support.processing.parking_rig import Rig, keyed, of_key, open_rig, turns


async def process_with_bad(
    rig: Rig, events: list[Event], *bad: int, ordering: str = "park"
) -> None:
    """Process the events, of which the given ones are poison."""
    rig.bad = set(bad)
    await rig.processor(poison_ordering=ordering).process(batch(events))


async def test_redrive_of_an_empty_queue_succeeds() -> None:
    """The summary is complete and counts no event."""
    async with open_rig() as rig:
        summary = await rig.redrive().run()
        assert (summary.replayed, summary.left, summary.complete) == (0, 0, True)


async def test_skipped_events_are_replayed_oldest_first() -> None:
    """The queue is empty afterwards."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed(*"ababab"), 0, 2, 3, ordering="skip")
        rig.bad.clear()
        shown: list[tuple[int, int]] = []
        summary = await rig.redrive().run(progress=lambda *at: shown.append(at))
        assert (summary.replayed, summary.complete, rig.poison.messages) == (3, True, [])
        assert [n for n in rig.handled[3:] if n != 3] == [0, 2]
        assert shown[-1] == (3, 3)


async def test_parked_key_is_replayed_in_order_and_released() -> None:
    """The poisoned event is replayed first, then every event behind it."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed(*"abaaa"), 0)
        rig.bad.clear()
        summary = await rig.redrive().run()
        assert rig.handled == [1, 0, 2, 3, 4]
        assert (summary.replayed, summary.released, summary.complete) == (4, 1, True)
        assert rig.poison.messages == []
        assert await rig.store.keys() == []


async def test_failed_message_stays_with_a_raised_count() -> None:
    """In skip mode the other messages of the key are replayed."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed(*"aab"), 0, 1, ordering="skip")
        rig.bad = {0}
        for count in (1, 2):
            summary = await rig.redrive().run()
            assert not summary.complete
            (failure,) = summary.failed
            assert failure.message == "bad"
            (message,) = await browse(rig.reader)
            assert (message.sequence_number, message.redrives) == (0, count)
        assert rig.handled == [2, 1]
        assert message.attempts == 3


async def test_failure_stops_the_replay_of_its_parked_key() -> None:
    """Other keys are replayed."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed(*"aabab"), 0, 2)
        rig.bad = {0}
        summary = await rig.redrive().run()
        assert rig.handled == [2, 4]
        assert (summary.replayed, summary.released, summary.left) == (2, 1, 2)
        (entry,) = await rig.store.entries(SOURCE, "a", most=1)
        (message,) = rig.poison.messages
        assert entry.document == message.to_json()
        assert (message.redrives, message.parked) == (1, True)


async def test_parked_event_that_fails_becomes_a_poison_message() -> None:
    """The failed event stays at the head of its key."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed(*"aaaa"), 0)
        rig.bad = {2}
        summary = await rig.redrive().run()
        assert rig.handled == [0, 1]
        assert (summary.replayed, len(summary.failed), summary.left) == (2, 1, 1)
        assert rig.poisoned == [2]
        assert await rig.parked(EntryKind.POISON) == [2]
        assert await rig.parked(EntryKind.EVENT) == [3]
        (message,) = rig.poison.messages
        assert (message.redrives, message.parked, message.error.message) == (1, True, "bad")
        rig.bad.clear()
        await rig.redrive().run()
        assert rig.handled == [0, 1, 2, 3]
        assert rig.poison.messages == []


async def test_events_that_arrive_during_a_redrive_are_replayed_last() -> None:
    """Arriving events are parked behind the events that already wait."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed(*"aaa"), 0)
        rig.bad.clear()
        handling, resume = asyncio.Event(), asyncio.Event()

        async def slow(each: Event) -> None:
            if each.sequence_number == 2:
                handling.set()
                await resume.wait()

        rig.before = slow
        redriving = asyncio.create_task(rig.redrive().run())
        await handling.wait()
        result = await rig.processor().process(batch(keyed(*"aab", first=3)))
        assert (result.parked, result.handled) == (2, 1)
        resume.set()
        assert (await redriving).replayed == 5
        assert [n for n in rig.handled if n != 5] == [0, 1, 2, 3, 4]


async def test_two_redrives_never_replay_the_same_key() -> None:
    """The second redrive skips a key that the first one replays."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed(*"abcd" * 5), 0, 1, 2, 3)
        rig.bad.clear()
        rig.before = lambda _each: turns(3)
        one, other = await asyncio.gather(rig.redrive().run(), rig.redrive().run())
        assert one.replayed + other.replayed == 20
        assert len(rig.handled) == len(set(rig.handled)) == 20
        assert rig.most_in_flight == 1
        assert rig.poison.messages == [] or (await rig.redrive().run()).replayed == 0
        assert rig.poison.messages == []


async def test_redrive_that_lost_its_lease_starts_no_event() -> None:
    """A redrive may be delayed for longer than its lease, so that another redrive has the key."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed(*"aaa"), 0)
        rig.bad.clear()

        async def stolen(_each: Event) -> None:
            rig.store._leases.clear()
            assert await rig.store.lease(SOURCE, "a", "another", 60_000)

        rig.before = stolen
        summary = await rig.redrive().run()
        assert (summary.replayed, summary.busy, rig.handled) == (0, 1, [0])
        assert await rig.parked() == [0, 1, 2]


async def test_redrive_with_an_expired_lease_starts_no_event() -> None:
    """Another redrive may hold the key by then."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed("a", "a"), 0)
        await process_with_bad(rig, keyed("b", first=2), 2, ordering="skip")
        rig.bad.clear()
        summary = await rig.redrive(lease_seconds=0.0).run()
        assert (summary.replayed, summary.busy, rig.handled) == (0, 2, [])


async def test_interrupted_redrive_finishes_the_event_in_flight() -> None:
    """Events that were not started stay for the next redrive."""
    async with open_rig() as rig:
        events = keyed(*"aaab")
        await process_with_bad(rig, events, 0, 3)
        rig.bad.clear()
        redrive = rig.redrive(most_keys=1)

        async def interrupt(_each: Event) -> None:
            redrive.stop()

        rig.before = interrupt
        summary = await redrive.run()
        assert (rig.handled, summary.replayed, summary.left) == ([0], 1, 3)
        assert summary.stopped == "interrupted"
        assert rig.poisoned == [3]
        rig.before = None
        assert (await rig.redrive().run()).replayed == 3
        assert of_key(rig.handled, events, "a") == [0, 1, 2]
        assert of_key(rig.handled, events, "b") == [3]


async def test_cancelled_redrive_removes_nothing() -> None:
    """The messages and the keys are free for the next redrive."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed(*"aab"), 0, 2)
        rig.bad.clear()
        started = asyncio.Event()

        async def hang(_each: Event) -> None:
            started.set()
            await asyncio.Event().wait()

        rig.before = hang
        redriving = asyncio.create_task(rig.redrive().run())
        await started.wait()
        redriving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await redriving
        assert await rig.parked() == [0, 1, 2]
        assert rig.poisoned == [0, 2]
        rig.before = None
        assert (await rig.redrive().run()).replayed == 3


async def test_redrive_selects_by_key_by_id_or_by_the_end_of_an_id() -> None:
    """An unknown id selects no message."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed(*"abab"), 0, 1, 2, ordering="skip")
        rig.bad.clear()
        assert (await rig.redrive().run(Selection(key="b"))).replayed == 1
        (first, second) = await browse(rig.reader)
        assert (await rig.redrive().run(Selection(id=second.id))).replayed == 1
        end = f"0/0/{first.enqueued_ms}"
        assert (await rig.redrive().run(Selection(id="nothing"))).replayed == 0
        assert (await rig.redrive().run(Selection(id=end))).replayed == 1
        assert rig.handled == [3, 1, 2, 0]


async def test_selected_message_selects_its_whole_parked_key() -> None:
    """Another key stays parked."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed(*"abab"), 0, 1)
        rig.bad.clear()
        (first, _) = await browse(rig.reader)
        assert (await rig.redrive().run(Selection(id=first.id))).replayed == 2
        assert rig.handled == [0, 2]
        assert (await rig.redrive().run(Selection(key="b"))).replayed == 2


async def test_plan_changes_nothing() -> None:
    """A dry run counts the events, and holds no message back from the next redrive."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed(*"aab"), 0, ordering="park")
        await process_with_bad(rig, keyed(*"cd", first=3), 3, ordering="skip")
        plan = await rig.redrive().plan(Selection())
        assert [message.sequence_number for message in plan.messages] == [0, 3]
        assert plan.parked == {(SOURCE, "a"): 2}
        assert plan.events == 3
        assert rig.handled == [2, 4]
        rig.bad.clear()
        assert (await rig.redrive().run()).replayed == 3


async def test_dependency_failure_stops_the_redrive() -> None:
    """The messages' counts of redrives stay, and no further event is started."""

    async def down(_each: Event) -> None:
        raise DependencyUnavailableError("database")

    async with open_rig() as rig:
        await process_with_bad(rig, keyed(*"aab"), 0, 2)
        rig.before = down
        summary = await rig.redrive(most_keys=1).run()
        assert "database" in summary.stopped
        assert (summary.failed, summary.left) == ((), 3)
        assert {message.redrives for message in rig.poison.messages} == {0}


async def test_open_circuit_stops_the_redrive() -> None:
    """The summary names the circuit as the reason."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed("a"), 0)
        await rig.breaker.isolate("op", "test")
        summary = await rig.redrive(admits=lambda: rig.breaker.circuit.admits).run()
        assert "circuit is not closed" in summary.stopped
        assert rig.handled == []


async def test_copies_of_a_message_are_replayed_once() -> None:
    """A crash can send an event to the queue twice."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed("a", "b"), 0, 1, ordering="skip")
        await process_with_bad(rig, keyed("c", first=2), 2)
        rig.poison.messages += [replace(message) for message in rig.poison.messages]
        rig.bad = {1}
        summary = await rig.redrive().run()
        assert sorted(rig.handled) == [0, 2]
        assert (summary.replayed, len(summary.failed)) == (2, 1)
        assert [message.sequence_number for message in rig.poison.messages] == [1]


async def test_message_that_is_sent_after_its_replay_is_stale() -> None:
    """A stalled instance may send its message after the key was replayed."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed("a", "a"), 0)
        late = rig.poison.messages[0]
        rig.bad.clear()
        await rig.redrive().run()
        rig.poison.messages.append(late)
        summary = await rig.redrive().run()
        assert (summary.replayed, summary.stale, summary.complete) == (0, 1, True)
        assert (rig.handled, rig.poison.messages) == ([0, 1], [])


async def test_held_message_that_another_redrive_replayed_is_removed() -> None:
    """Only the redrive that holds the message can remove it."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed("a", "a", "b"), 0, 2)
        held = HeldMessages(rig.reader, rig.store, IDENTITY)
        await held.collect(lambda _message: True)
        rig.bad = {2}
        assert (await rig.redrive().run(Selection(key="a"))).replayed == 2
        assert rig.poisoned == [0, 2]
        assert await held.put_back_or_remove() == 1
        assert rig.poisoned == [2]


async def test_poison_messages_are_replayed_after_their_parked_lists_are_lost() -> None:
    """A message holds its whole event, also without Redis."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed("a", "a"), 0)
        rig.store._lists.clear()
        rig.bad.clear()
        assert (await rig.redrive().run()).replayed == 1
        assert (rig.handled, rig.poison.messages) == ([0], [])


@pytest.mark.parametrize("ordering", ["skip", "park"])
async def test_message_that_its_new_error_makes_too_large_goes_to_a_blob(ordering: str) -> None:
    """The message fitted into the queue with its first error."""
    # The first error's traceback has the checkout's paths, so the size leaves room for long paths.
    large = event(0, "a", body=bytes(33_000))

    async def fail(_each: Event) -> None:
        raise LookupError("\u20ac" * 2000)

    async with open_rig() as rig:
        await process_with_bad(rig, [large], 0, ordering=ordering)
        (message,) = rig.poison.messages
        assert not message.is_large
        assert message.claim_check is None
        rig.before = fail
        for redrives in (1, 2):
            await rig.redrive().run()
            (message,) = rig.poison.messages
            assert not message.is_large
            assert message.redrives == redrives
        rig.before = None
        rig.bad.clear()
        assert (await rig.redrive().run()).replayed == 1
        assert (rig.events[0], rig.poison.messages, rig.claims.blobs) == (large, [], {})


async def test_message_whose_hold_expired_is_not_replayed_twice() -> None:
    """Another redrive replays the message while the first redrive is stalled."""
    async with open_rig() as rig:
        await process_with_bad(rig, keyed("a", "b"), 0, 1, ordering="skip")
        rig.bad.clear()
        at_a, resume = asyncio.Event(), asyncio.Event()

        async def stall(each: Event) -> None:
            if each.key == "a":
                at_a.set()
                await resume.wait()

        rig.before = stall
        stopped = asyncio.create_task(rig.redrive(most_keys=1).run())
        await at_a.wait()
        rig.reader.expire_holds()
        assert (await rig.redrive().run(Selection(key="b"))).replayed == 1
        resume.set()
        summary = await stopped
        assert (summary.replayed, summary.left) == (1, 1)
        assert rig.handled == [1, 0]
        # The second redrive has received the message of a, so the first one cannot remove it.
        assert rig.poisoned == [0]


async def test_message_with_a_lost_blob_is_reported_and_stays() -> None:
    """The other messages are replayed."""
    async with open_rig() as rig:
        large = [event(n, key, body=bytes(100_000)) for n, key in enumerate("abc")]
        await process_with_bad(rig, large, 0, 1, 2, ordering="skip")
        rig.bad.clear()
        rig.poison.messages = [await rig.claims.shrink(each) for each in rig.poison.messages]
        lost = rig.poison.messages[1]
        assert lost.claim_check is not None
        await rig.claims.delete(lost.claim_check)
        summary = await rig.redrive().run()
        assert (summary.replayed, [each.id for each in summary.failed]) == (2, [lost.id])
        assert rig.poisoned == [1]


@pytest.mark.parametrize("ordering", ["skip", "park"])
async def test_stop_leaves_events_alone_whose_bodies_are_lost(ordering: str) -> None:
    """Their reports would delay the end; a later redrive makes them."""
    async with open_rig() as rig:
        large = [event(n, "a", body=bytes(100_000)) for n in range(5)]
        await process_with_bad(rig, large, *range(5), ordering=ordering)
        rig.bad.clear()
        redrive = rig.redrive()

        async def interrupt(_each: Event) -> None:
            rig.claims.blobs.clear()
            redrive.stop()

        rig.before = interrupt
        summary = await redrive.run()
        assert (rig.handled, summary.replayed, summary.failed) == ([0], 1, ())


async def test_store_failure_stops_the_redrive() -> None:
    """The summary names the error, and the next redrive can replay every message."""
    async with open_rig() as rig:
        large = [event(n, "a", body=bytes([n]) * 100_000) for n in (0, 1)]
        await process_with_bad(rig, large, 0)
        rig.bad.clear()
        finish = rig.store.finish

        async def down(*_args: object, **_options: object) -> int:
            raise StorageUnavailableError("redis is down")

        rig.store.finish = down  # type: ignore[method-assign]
        summary = await rig.redrive().run()
        assert summary.stopped == "redis is down"
        rig.store.finish = finish  # type: ignore[method-assign]
        assert isinstance(rig.redrive(), Redrive)
        assert (await rig.redrive().run()).replayed == 2
        assert rig.handled == [0, 0, 1]  # event 0 was in flight, as in a crash
        assert [rig.events[n] for n in (0, 1)] == large
        assert rig.claims.blobs == {}


async def test_error_of_our_own_ends_only_its_key() -> None:
    """The other keys are replayed; the event stays in the queue and is reported."""

    class BrokenReader(MemoryPoisonReader):
        async def update(self, received: Received, message: PoisonMessage) -> None:
            if message.key == "a":
                raise TypeError("not a text")
            await super().update(received, message)

    async with open_rig() as rig:
        rig.bad = {0, 1}
        await rig.processor(poison_ordering="skip").process(batch(keyed("a", "b", "a", "b")))
        rig.bad = {0}
        rig.handled.clear()
        summary = await rig.redrive(reader=BrokenReader(rig.poison)).run()
        assert (rig.handled, summary.replayed, summary.stopped) == ([1], 1, "")
        assert [(each.key, each.type, each.message) for each in summary.failed] == [
            ("a", "TypeError", "not a text")
        ]
        assert rig.poisoned == [0]
