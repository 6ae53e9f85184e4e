"""Redrives of poisoned and parked events."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from processing.errors import DependencyUnavailableError, StorageUnavailableError
from processing.event import Event
from processing.parking.store import EntryKind
from processing.poison.queue import browse
from processing.redrive.held_messages import HeldMessages
from processing.redrive.redrive import Redrive
from processing.redrive.selection import Selection
from tests.support.processing.events import SOURCE, batch, event
from tests.support.processing.parking_rig import Rig, keyed, of_key, rig, turns


async def process_with_bad(
    made: Rig, events: list[Event], *bad: int, ordering: str = "park"
) -> None:
    """Process the events, of which the given ones are poison."""
    made.bad = set(bad)
    await made.processor(poison_ordering=ordering).process(batch(events))


async def test_redrive_of_an_empty_queue_succeeds() -> None:
    """The summary is complete and counts no event."""
    async with rig() as made:
        summary = await made.redrive().run()
        assert (summary.replayed, summary.left, summary.complete) == (0, 0, True)


async def test_skipped_events_are_replayed_oldest_first() -> None:
    """The queue is empty afterwards."""
    async with rig() as made:
        await process_with_bad(made, keyed(*"ababab"), 0, 2, 3, ordering="skip")
        made.bad.clear()
        shown: list[tuple[int, int]] = []
        summary = await made.redrive().run(progress=lambda *at: shown.append(at))
        assert (summary.replayed, summary.complete, made.poison.messages) == (3, True, [])
        assert [n for n in made.handled[3:] if n != 3] == [0, 2]
        assert shown[-1] == (3, 3)


async def test_parked_key_is_replayed_in_order_and_released() -> None:
    """The poisoned event is replayed first, then every event behind it."""
    async with rig() as made:
        await process_with_bad(made, keyed(*"abaaa"), 0)
        made.bad.clear()
        summary = await made.redrive().run()
        assert made.handled == [1, 0, 2, 3, 4]
        assert (summary.replayed, summary.released, summary.complete) == (4, 1, True)
        assert made.poison.messages == []
        assert await made.store.keys() == []


async def test_failed_message_stays_with_a_raised_count() -> None:
    """In skip mode the other messages of the key are replayed."""
    async with rig() as made:
        await process_with_bad(made, keyed(*"aab"), 0, 1, ordering="skip")
        made.bad = {0}
        for count in (1, 2):
            summary = await made.redrive().run()
            assert not summary.complete
            (failure,) = summary.failed
            assert failure.message == "bad"
            (message,) = await browse(made.reader)
            assert (message.sequence_number, message.redrives) == (0, count)
        assert made.handled == [2, 1]
        assert message.attempts == 3


async def test_failure_stops_the_replay_of_its_parked_key() -> None:
    """Other keys are replayed."""
    async with rig() as made:
        await process_with_bad(made, keyed(*"aabab"), 0, 2)
        made.bad = {0}
        summary = await made.redrive().run()
        assert made.handled == [2, 4]
        assert (summary.replayed, summary.released, summary.left) == (2, 1, 2)
        (entry,) = await made.store.entries(SOURCE, "a", most=1)
        (message,) = made.poison.messages
        assert entry.document == message.to_json()
        assert (message.redrives, message.parked) == (1, True)


async def test_parked_event_that_fails_becomes_a_poison_message() -> None:
    """The failed event stays at the head of its key."""
    async with rig() as made:
        await process_with_bad(made, keyed(*"aaaa"), 0)
        made.bad = {2}
        summary = await made.redrive().run()
        assert made.handled == [0, 1]
        assert (summary.replayed, len(summary.failed), summary.left) == (2, 1, 1)
        assert made.poisoned == [2]
        assert await made.parked(EntryKind.POISON) == [2]
        assert await made.parked(EntryKind.EVENT) == [3]
        (message,) = made.poison.messages
        assert (message.redrives, message.parked, message.error.message) == (1, True, "bad")
        made.bad.clear()
        await made.redrive().run()
        assert made.handled == [0, 1, 2, 3]
        assert made.poison.messages == []


async def test_events_that_arrive_during_a_redrive_are_replayed_last() -> None:
    """Arriving events are parked behind the events that already wait."""
    async with rig() as made:
        await process_with_bad(made, keyed(*"aaa"), 0)
        made.bad.clear()
        handling, resume = asyncio.Event(), asyncio.Event()

        async def slow(each: Event) -> None:
            if each.sequence_number == 2:
                handling.set()
                await resume.wait()

        made.before = slow
        redriving = asyncio.create_task(made.redrive().run())
        await handling.wait()
        result = await made.processor().process(batch(keyed(*"aab", first=3)))
        assert (result.parked, result.handled) == (2, 1)
        resume.set()
        assert (await redriving).replayed == 5
        assert [n for n in made.handled if n != 5] == [0, 1, 2, 3, 4]


async def test_two_redrives_never_replay_the_same_key() -> None:
    """The second redrive skips a key that the first one replays."""
    async with rig() as made:
        await process_with_bad(made, keyed(*"abcd" * 5), 0, 1, 2, 3)
        made.bad.clear()
        made.before = lambda _each: turns(3)
        one, other = await asyncio.gather(made.redrive().run(), made.redrive().run())
        assert one.replayed + other.replayed == 20
        assert len(made.handled) == len(set(made.handled)) == 20
        assert made.most_in_flight == 1
        assert made.poison.messages == [] or (await made.redrive().run()).replayed == 0
        assert made.poison.messages == []


async def test_redrive_that_lost_its_lease_starts_no_event() -> None:
    """A redrive may be delayed for longer than its lease, so that another redrive has the key."""
    async with rig() as made:
        await process_with_bad(made, keyed(*"aaa"), 0)
        made.bad.clear()

        async def stolen(_each: Event) -> None:
            made.store._leases.clear()
            assert await made.store.lease(SOURCE, "a", "another", 60_000)

        made.before = stolen
        summary = await made.redrive().run()
        assert (summary.replayed, summary.busy, made.handled) == (0, 1, [0])
        assert await made.parked() == [0, 1, 2]


async def test_redrive_with_an_expired_lease_starts_no_event() -> None:
    """Another redrive may hold the key by then."""
    async with rig() as made:
        await process_with_bad(made, keyed("a", "a"), 0)
        await process_with_bad(made, keyed("b", first=2), 2, ordering="skip")
        made.bad.clear()
        summary = await made.redrive(lease_seconds=0.0).run()
        assert (summary.replayed, summary.busy, made.handled) == (0, 2, [])


async def test_interrupted_redrive_finishes_the_event_in_flight() -> None:
    """Events that were not started stay for the next redrive."""
    async with rig() as made:
        events = keyed(*"aaab")
        await process_with_bad(made, events, 0, 3)
        made.bad.clear()
        redrive = made.redrive(most_keys=1)

        async def interrupt(_each: Event) -> None:
            redrive.stop()

        made.before = interrupt
        summary = await redrive.run()
        assert (made.handled, summary.replayed, summary.left) == ([0], 1, 3)
        assert summary.stopped == "interrupted"
        assert made.poisoned == [3]
        made.before = None
        assert (await made.redrive().run()).replayed == 3
        assert of_key(made.handled, events, "a") == [0, 1, 2]
        assert of_key(made.handled, events, "b") == [3]


async def test_cancelled_redrive_removes_nothing() -> None:
    """The messages and the keys are free for the next redrive."""
    async with rig() as made:
        await process_with_bad(made, keyed(*"aab"), 0, 2)
        made.bad.clear()
        started = asyncio.Event()

        async def hang(_each: Event) -> None:
            started.set()
            await asyncio.Event().wait()

        made.before = hang
        redriving = asyncio.create_task(made.redrive().run())
        await started.wait()
        redriving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await redriving
        assert await made.parked() == [0, 1, 2]
        assert made.poisoned == [0, 2]
        made.before = None
        assert (await made.redrive().run()).replayed == 3


async def test_redrive_selects_by_key_by_id_or_by_the_end_of_an_id() -> None:
    """An unknown id selects no message."""
    async with rig() as made:
        await process_with_bad(made, keyed(*"abab"), 0, 1, 2, ordering="skip")
        made.bad.clear()
        assert (await made.redrive().run(Selection(key="b"))).replayed == 1
        (first, second) = await browse(made.reader)
        assert (await made.redrive().run(Selection(id=second.id))).replayed == 1
        end = f"0/0/{first.enqueued_ms}"
        assert (await made.redrive().run(Selection(id="nothing"))).replayed == 0
        assert (await made.redrive().run(Selection(id=end))).replayed == 1
        assert made.handled == [3, 1, 2, 0]


async def test_selected_message_selects_its_whole_parked_key() -> None:
    """Another key stays parked."""
    async with rig() as made:
        await process_with_bad(made, keyed(*"abab"), 0, 1)
        made.bad.clear()
        (first, _) = await browse(made.reader)
        assert (await made.redrive().run(Selection(id=first.id))).replayed == 2
        assert made.handled == [0, 2]
        assert (await made.redrive().run(Selection(key="b"))).replayed == 2


async def test_plan_changes_nothing() -> None:
    """A dry run counts the events, and holds no message back from the next redrive."""
    async with rig() as made:
        await process_with_bad(made, keyed(*"aab"), 0, ordering="park")
        await process_with_bad(made, keyed(*"cd", first=3), 3, ordering="skip")
        plan = await made.redrive().plan(Selection())
        assert [message.sequence_number for message in plan.messages] == [0, 3]
        assert plan.parked == {(SOURCE, "a"): 2}
        assert plan.events == 3
        assert made.handled == [2, 4]
        made.bad.clear()
        assert (await made.redrive().run()).replayed == 3


async def test_dependency_failure_stops_the_redrive() -> None:
    """The messages' counts of redrives stay, and no further event is started."""

    async def down(_each: Event) -> None:
        raise DependencyUnavailableError("database")

    async with rig() as made:
        await process_with_bad(made, keyed(*"aab"), 0, 2)
        made.before = down
        summary = await made.redrive(most_keys=1).run()
        assert "database" in summary.stopped
        assert (summary.failed, summary.left) == ((), 3)
        assert {message.redrives for message in made.poison.messages} == {0}


async def test_open_circuit_stops_the_redrive() -> None:
    """The summary names the circuit as the reason."""
    async with rig() as made:
        await process_with_bad(made, keyed("a"), 0)
        await made.breaker.isolate("op", "test")
        summary = await made.redrive(admits=lambda: made.breaker.circuit.admits).run()
        assert "circuit is not closed" in summary.stopped
        assert made.handled == []


async def test_copies_of_a_message_are_replayed_once() -> None:
    """A crash can send an event to the queue twice."""
    async with rig() as made:
        await process_with_bad(made, keyed("a", "b"), 0, 1, ordering="skip")
        await process_with_bad(made, keyed("c", first=2), 2)
        made.poison.messages += [replace(message) for message in made.poison.messages]
        made.bad = {1}
        summary = await made.redrive().run()
        assert sorted(made.handled) == [0, 2]
        assert (summary.replayed, len(summary.failed)) == (2, 1)
        assert [message.sequence_number for message in made.poison.messages] == [1]


async def test_message_that_is_sent_after_its_replay_is_stale() -> None:
    """A stalled instance may send its message after the key was replayed."""
    async with rig() as made:
        await process_with_bad(made, keyed("a", "a"), 0)
        late = made.poison.messages[0]
        made.bad.clear()
        await made.redrive().run()
        made.poison.messages.append(late)
        summary = await made.redrive().run()
        assert (summary.replayed, summary.stale, summary.complete) == (0, 1, True)
        assert (made.handled, made.poison.messages) == ([0, 1], [])


async def test_held_message_that_another_redrive_replayed_is_removed() -> None:
    """Only the redrive that holds the message can remove it."""
    async with rig() as made:
        await process_with_bad(made, keyed("a", "a", "b"), 0, 2)
        held = HeldMessages(made.reader, made.store)
        await held.collect(lambda _message: True)
        made.bad = {2}
        assert (await made.redrive().run(Selection(key="a"))).replayed == 2
        assert made.poisoned == [0, 2]
        assert await held.put_back_or_drop() == 1
        assert made.poisoned == [2]


async def test_poison_messages_are_replayed_after_their_parked_lists_are_lost() -> None:
    """A message holds its whole event, also without Redis."""
    async with rig() as made:
        await process_with_bad(made, keyed("a", "a"), 0)
        made.store._parked.clear()
        made.bad.clear()
        assert (await made.redrive().run()).replayed == 1
        assert (made.handled, made.poison.messages) == ([0], [])


@pytest.mark.parametrize("ordering", ["skip", "park"])
async def test_message_that_its_new_error_makes_too_large_goes_to_a_blob(ordering: str) -> None:
    """The message fitted into the queue with its first error."""
    large = event(0, "a", body=bytes(35_000))

    async def fail(_each: Event) -> None:
        raise LookupError("\u20ac" * 2000)

    async with rig() as made:
        await process_with_bad(made, [large], 0, ordering=ordering)
        (message,) = made.poison.messages
        assert not message.is_large
        assert message.claim_check is None
        made.before = fail
        for redrives in (1, 2):
            await made.redrive().run()
            (message,) = made.poison.messages
            assert not message.is_large
            assert message.redrives == redrives
        made.before = None
        made.bad.clear()
        assert (await made.redrive().run()).replayed == 1
        assert (made.events[0], made.poison.messages, made.claims.blobs) == (large, [], {})


async def test_message_whose_hold_expired_is_not_replayed_twice() -> None:
    """Another redrive replays the message while the first redrive is stalled."""
    async with rig() as made:
        await process_with_bad(made, keyed("a", "b"), 0, 1, ordering="skip")
        made.bad.clear()
        at_a, resume = asyncio.Event(), asyncio.Event()

        async def stall(each: Event) -> None:
            if each.key == "a":
                at_a.set()
                await resume.wait()

        made.before = stall
        stopped = asyncio.create_task(made.redrive(most_keys=1).run())
        await at_a.wait()
        made.reader.let_go()
        assert (await made.redrive().run(Selection(key="b"))).replayed == 1
        resume.set()
        summary = await stopped
        assert (summary.replayed, summary.left) == (1, 1)
        assert (made.handled, made.poison.messages) == ([1, 0], [])


async def test_message_with_a_lost_blob_is_reported_and_stays() -> None:
    """The other messages are replayed."""
    async with rig() as made:
        large = [event(n, key, body=bytes(100_000)) for n, key in enumerate("abc")]
        await process_with_bad(made, large, 0, 1, 2, ordering="skip")
        made.bad.clear()
        made.poison.messages = [await made.claims.shrink(each) for each in made.poison.messages]
        lost = made.poison.messages[1]
        assert lost.claim_check is not None
        await made.claims.delete(lost.claim_check)
        summary = await made.redrive().run()
        assert (summary.replayed, [each.id for each in summary.failed]) == (2, [lost.id])
        assert made.poisoned == [1]


async def test_store_failure_stops_the_redrive() -> None:
    """The summary names the error, and the next redrive can replay every message."""
    async with rig() as made:
        large = [event(n, "a", body=bytes([n]) * 100_000) for n in (0, 1)]
        await process_with_bad(made, large, 0)
        made.bad.clear()
        finish = made.store.finish

        async def down(*_args: object) -> int:
            raise StorageUnavailableError("redis is down")

        made.store.finish = down  # type: ignore[method-assign, assignment]
        summary = await made.redrive().run()
        assert summary.stopped == "redis is down"
        made.store.finish = finish  # type: ignore[method-assign]
        assert isinstance(made.redrive(), Redrive)
        assert (await made.redrive().run()).replayed == 2
        assert made.handled == [0, 0, 1]  # event 0 was in flight, as in a crash
        assert [made.events[n] for n in (0, 1)] == large
        assert made.claims.blobs == {}
