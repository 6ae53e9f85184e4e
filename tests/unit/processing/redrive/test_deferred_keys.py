"""Redrives beside deferred keys, and redrives of deferred keys that an operator names."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processing.errors import StorageUnavailableError
from processing.event import Event
from processing.handlers.retry import RetryPolicy
from processing.parking.event import Lone, position_of
from processing.parking.store import EntryKind, ParkedKey
from processing.poison.message import PoisonMessage
from processing.redrive.selection import Selection
from tests.support.processing.events import SOURCE, event
from tests.unit.processing.redrive.lists import Lists


def events(key: str | None, *numbers: int) -> list[Event]:
    return [event(number, key) for number in numbers]


async def test_redrive_leaves_deferred_keys_alone() -> None:
    """The app replays a deferred key by itself; a redrive of everything only counts the key."""
    site = Lists()
    await site.defer(*events("a", 0, 1))
    await site.park(*events("b", 2, 3))
    summary = await site.redrive().run()
    assert site.handled == [2, 3]
    assert (summary.replayed, summary.deferred, summary.complete) == (2, 1, True)
    assert await site.lists() == {"a": ("deferred", 2)}


async def test_loose_message_of_a_deferred_key_is_replayed() -> None:
    """The key continued without the message, and its deferred events wait for their turn."""
    site = Lists()
    await site.poison(event(0, "a"))
    await site.defer(*events("a", 1, 2))
    summary = await site.redrive().run()
    assert (site.handled, summary.replayed, summary.deferred) == ([0], 1, 1)
    assert (site.queued, await site.lists()) == ([], {"a": ("deferred", 2)})


async def test_named_deferred_key_is_replayed_in_order() -> None:
    """The key is released, and other deferred keys stay."""
    site = Lists()
    await site.defer(*events("a", 0, 1, 2))
    await site.defer(*events("b", 3))
    summary = await site.redrive().run(Selection(key="a"))
    assert site.handled == [0, 1, 2]
    assert (summary.replayed, summary.released, summary.deferred) == (3, 1, 0)
    assert summary.complete
    assert await site.lists() == {"b": ("deferred", 1)}


async def test_deferred_key_that_the_app_replays_is_busy() -> None:
    """The redrive starts no event of the key."""
    site = Lists()
    await site.defer(*events("a", 0))
    assert await site.store.lease(SOURCE, "a", "an instance", 60_000)
    summary = await site.redrive().run(Selection(key="a"))
    assert (site.handled, summary.busy, summary.complete) == ([], 1, False)


async def test_dependency_that_is_down_ends_only_the_deferred_key() -> None:
    """The key's loose message is replayed first; the list stays as it is."""
    site = Lists()
    await site.defer(*events("a", 0, 1))
    await site.poison(event(9, "a"))
    (before,) = await site.store.keys()
    site.down = {0}
    summary = await site.redrive().run(Selection(key="a"))
    assert (site.handled, summary.stopped, summary.failed) == ([9], "", ())
    (still,) = summary.still_deferred
    assert (still.key, still.message) == ("a", "bank is down")
    assert (summary.left, summary.complete) == (2, False)
    (after,) = await site.store.keys()
    assert after == before, "the next replay of the app is due as before"


async def test_dependency_failure_of_one_deferred_key_spares_the_others() -> None:
    """The dependency is that of the deferred key alone, as other keys are handled."""
    site = Lists()
    await site.defer(*events("a", 0))
    await site.park(*events("b", 1))
    site.down = {0, 5}
    await site.poison(event(5, "a"))
    summary = await site.redrive(most_keys=1).run()
    assert (site.handled, summary.stopped, len(summary.still_deferred)) == ([1], "", 1)
    assert site.queued == [5]


async def test_dependency_that_is_down_still_stops_a_redrive_of_parked_keys() -> None:
    """Every other event would probably fail in the same way."""
    site = Lists()
    await site.park(*events("a", 0))
    site.down = {0}
    summary = await site.redrive().run(Selection(key="a"))
    assert "bank is down" in summary.stopped
    assert summary.still_deferred == ()


async def test_poison_in_a_deferred_key_goes_to_the_queue_and_the_key_continues() -> None:
    """With ordering `skip` no event of the key waits for an operator."""
    site = Lists()
    await site.defer(*events("a", 0, 1, 2))
    site.bad = {0, 2}
    summary = await site.redrive(parks=False).run(Selection(key="a"))
    assert (site.handled, site.queued, await site.lists()) == ([1], [0, 2], {})
    assert (summary.replayed, len(summary.failed), summary.released) == (1, 2, 1)
    assert (summary.left, summary.complete) == (0, False)
    assert [(each.parked, each.redrives) for each in site.queue.messages] == [(False, 1)] * 2
    site.bad.clear()
    assert (await site.redrive(parks=False).run()).replayed == 2
    assert site.handled == [1, 0, 2]


async def test_poisoned_event_is_in_the_queue_before_it_leaves_its_list() -> None:
    """A crash between the two writes repeats the event, but does not lose it."""
    site = Lists()
    await site.defer(*events("a", 0, 1))
    site.bad = {0}
    put = site.queue.put

    async def checked(message: PoisonMessage) -> None:
        assert await site.lists() == {"a": ("deferred", 2)}
        await put(message)

    site.queue.put = checked  # type: ignore[method-assign]
    await site.redrive(parks=False).run(Selection(key="a"))
    assert (site.queued, site.handled) == ([0], [1])


async def test_redrive_without_its_lease_moves_no_event_to_the_queue() -> None:
    """The new holder of the lease may have handled the event."""
    site = Lists()
    await site.defer(*events("a", 0, 1))
    site.bad = {0}

    async def expire(_event: Event) -> None:
        loop = asyncio.get_running_loop()
        later = loop.time() + 60
        loop.time = lambda: later  # type: ignore[method-assign]

    site.before = expire
    summary = await site.redrive(parks=False).run(Selection(key="a"))
    assert (summary.busy, site.queued, await site.lists()) == (1, [], {"a": ("deferred", 2)})


async def test_poison_in_a_deferred_key_parks_the_key() -> None:
    """With ordering `park` the key waits for an operator from then on."""
    site = Lists()
    await site.defer(*events("a", 0, 1, 2))
    site.bad = {1}
    summary = await site.redrive(parks=True).run(Selection(key="a"))
    assert (site.handled, site.queued) == ([0], [1])
    assert (summary.replayed, len(summary.failed)) == (1, 1)
    assert await site.lists() == {"a": ("parked", 2)}
    head, _ = await site.store.entries(SOURCE, "a")
    assert head.kind is EntryKind.POISON
    site.bad.clear()
    assert (await site.redrive().run()).replayed == 2
    assert (site.handled, site.queued) == ([0, 1, 2], [])


@pytest.mark.parametrize("deferred", [True, False])
@pytest.mark.parametrize("fails", ["put", "replace"])
async def test_redrive_that_ends_before_the_announcement(fails: str, *, deferred: bool) -> None:
    """The app announces the event of a deferred key; the operator repeats a redrive that stopped.

    A write that the replicas did not confirm in time has taken effect all the same.
    """
    site = Lists()
    if deferred:
        await site.defer(*events("a", 0, 1, 2))
    else:
        await site.park(*events("a", 0, 1, 2))
    site.bad = {1}
    put, write = site.queue.put, site.store.replace

    async def away(_message: PoisonMessage) -> None:
        raise StorageUnavailableError("away")

    async def unconfirmed(*args: Any) -> None:
        await write(*args)
        raise StorageUnavailableError("0 of 1 replicas confirmed the write")

    if fails == "put":
        site.queue.put = away  # type: ignore[method-assign, assignment]
    else:
        site.store.replace = unconfirmed  # type: ignore[method-assign, assignment]
    summary = await site.redrive(parks=True).run(Selection(key="a"))
    assert not summary.complete
    assert summary.stopped
    state = "deferred" if deferred else "parked"
    assert (await site.lists(), site.queued) == ({"a": (state, 2)}, [])
    head, _ = await site.store.entries(SOURCE, "a")
    assert head.kind is EntryKind.UNANNOUNCED
    assert await site.store.due(SOURCE, most=10) == (["a"] if deferred else [])
    site.queue.put, site.store.replace = put, write  # type: ignore[method-assign]
    await site.redrive(parks=True).run(Selection(key="a"))
    assert (site.handled, site.queued) == ([0], [1])
    assert await site.lists() == {"a": ("parked", 2)}


@pytest.mark.parametrize("parks", [False, True])
async def test_lost_body_in_a_deferred_key_is_poison(parks: bool) -> None:
    """The event's message names the lost blob, and can be discarded."""
    site = Lists()
    await site.defer(event(0, "a", body=bytes(100_000)), event(1, "a"))
    site.claims.blobs.clear()
    summary = await site.redrive(parks=parks).run(Selection(key="a"))
    assert ([each.type for each in summary.failed], site.queued) == (["BodyLostError"], [0])
    assert site.handled == ([] if parks else [1])
    assert await site.lists() == ({"a": ("parked", 2)} if parks else {})
    assert site.queue.messages[0].claim_check is not None


async def test_large_event_that_is_poison_keeps_its_body() -> None:
    """The message has a blob of its own, and the blob of the deferred event is removed."""
    site = Lists()
    large = event(0, "a", body=bytes(100_000))
    await site.defer(large)
    site.bad = {0}
    await site.redrive(parks=False).run(Selection(key="a"))
    assert list(site.claims.blobs) == [site.queue.messages[0].blob_name]
    site.bad.clear()
    assert (await site.redrive().run()).replayed == 1
    assert (site.handled, site.claims.blobs) == ([0], {})


async def test_message_whose_event_is_still_in_its_list_is_replayed_once() -> None:
    """A crash after the queue was written leaves the event in both."""
    site = Lists()
    await site.defer(*events("a", 0, 1))
    await site.poison(event(0, "a"))
    plan = await site.redrive().plan(Selection(key="a"))
    assert plan.events == 2
    summary = await site.redrive(parks=False).run(Selection(key="a"))
    assert (site.handled, site.queued, summary.replayed) == ([0, 1], [], 2)


async def test_key_that_is_deferred_after_the_plan_is_left_alone() -> None:
    """The lease says whether the key is deferred; the plan may be older."""
    site = Lists()
    await site.poison(event(0, "a"))
    keys, calls = site.store.keys, 0

    async def none_yet() -> list[ParkedKey]:
        nonlocal calls
        calls += 1
        found = await keys()
        await site.defer(*events("a", 1))
        return found

    site.store.keys = none_yet  # type: ignore[method-assign]
    summary = await site.redrive().run()
    assert (calls, site.handled, summary.deferred) == (1, [0], 1)


async def test_finish_of_an_older_epoch_notes_no_position() -> None:
    """A rewind during the redrive makes the app process the event again."""
    site = Lists()
    await site.defer(*events("a", 0))

    async def rewind(_event: Event) -> None:
        await site.store.progress.reset(SOURCE)

    site.before = rewind
    await site.redrive().run(Selection(key="a"))
    claim = await site.store.claim(SOURCE, ["a"])
    assert (site.handled, claim.replayed) == ([0], {})


async def test_lone_event_is_selected_by_its_id() -> None:
    """A deferred event without a key has no poison message and no other name."""
    site = Lists()
    first, second = events(None, 0, 1)
    await site.defer(first, name=Lone(position_of(first)))
    await site.defer(second, name=Lone(position_of(second)))
    assert (await site.redrive().run()).deferred == 2
    assert (await site.redrive().run(Selection(id=first.id))).replayed == 1
    assert (await site.redrive().run(Selection(id=f"0/1/{second.enqueued_ms}"))).replayed == 1
    assert (site.handled, await site.lists()) == ([0, 1], {})


async def test_message_of_a_lone_event_selects_its_list() -> None:
    """The event is handled once, although it is in the queue and in a list."""
    site = Lists()
    (only,) = events(None, 0)
    await site.park(only, name=Lone(position_of(only)))
    summary = await site.redrive().run()
    assert (site.handled, site.queued, await site.lists()) == ([0], [], {})
    assert (summary.replayed, summary.released, summary.complete) == (1, 1, True)


async def test_events_without_a_key_are_selected_by_the_first_one() -> None:
    """Their list may begin with an event whose message is not in the queue yet."""
    site = Lists()
    await site.park(*events(None, 0, 1))
    site.queue.messages.clear()
    assert (await site.redrive().run(Selection(id=event(1, None).id))).replayed == 0
    assert (await site.redrive().run(Selection(id=event(0, None).id))).replayed == 2
    assert site.handled == [0, 1]


async def test_plan_shows_deferred_keys_separately() -> None:
    """A plan of everything excludes deferred keys; a plan of a named key includes the key."""
    site = Lists()
    await site.defer(*events("a", 0, 1))
    await site.park(*events("b", 2))
    plan = await site.redrive().plan(Selection())
    assert (plan.parked, plan.deferred, plan.left_alone) == (
        {(SOURCE, "b"): 1},
        {},
        {(SOURCE, "a"): 2},
    )
    assert plan.events == 1
    plan = await site.redrive().plan(Selection(key="a"))
    assert (plan.parked, plan.deferred, plan.left_alone) == ({}, {(SOURCE, "a"): 2}, {})
    assert plan.events == 2


async def test_each_lease_has_its_own_token() -> None:
    """A second lease of the same redrive cannot renew or release the first one."""
    site = Lists()
    await site.defer(*events("a", 0))
    redrive = site.redrive()
    tokens: list[str] = []
    lease = site.store.lease

    async def noting(*args: object) -> object:
        tokens.append(str(args[2]))
        return await lease(*args)  # type: ignore[arg-type]

    site.store.lease = noting  # type: ignore[method-assign, assignment]
    site.down = {0}
    for _ in range(2):
        await redrive.run(Selection(key="a"))
    assert len(set(tokens)) == 2


async def test_redrive_starts_no_call_that_may_outlast_its_lease() -> None:
    """Another holder would start the same event during the call."""
    site = Lists()
    await site.defer(*events("a", 0))
    summary = await site.redrive(lease_seconds=30, call_seconds=31).run(Selection(key="a"))
    assert (site.handled, summary.busy, await site.lists()) == ([], 1, {"a": ("deferred", 1)})


async def test_lease_is_checked_before_each_further_attempt() -> None:
    """The lease may expire while a failed event waits for its next attempt."""
    site = Lists()
    await site.defer(*events("a", 0))
    attempts = 0

    async def fail(_event: Event) -> None:
        nonlocal attempts
        attempts += 1
        loop = asyncio.get_running_loop()
        later = loop.time() + 60
        loop.time = lambda: later  # type: ignore[method-assign]
        raise LookupError("not yet")

    site.before = fail
    retry = RetryPolicy(max_attempts=3, initial_seconds=0, max_seconds=0)
    summary = await site.redrive(retry=retry).run(Selection(key="a"))
    assert (attempts, summary.busy, summary.failed) == (1, 1, ())
    assert await site.lists() == {"a": ("deferred", 1)}


async def test_poison_of_a_lone_event_goes_to_the_queue_with_either_ordering() -> None:
    """No event waits behind it, so no key is parked."""
    site = Lists()
    (only,) = events(None, 0)
    await site.defer(only, name=Lone(position_of(only)))
    site.bad = {0}
    summary = await site.redrive(parks=True).run(Selection(id=only.id))
    assert (len(summary.failed), site.queued, await site.lists()) == (1, [0], {})
    site.bad.clear()
    assert (await site.redrive().run()).replayed == 1
