"""Contract of every parking store: deferred keys, whose replays come back by themselves."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from processing.errors import LeaseLostError, OwnershipLostError
from processing.identity import Source
from processing.parking.deferral import ERROR_CHARS
from processing.parking.event import ListKey, Lone, position_of
from processing.parking.store import (
    DUE_KEYS,
    Entry,
    EntryKind,
    ParkedKey,
    ParkState,
    PartitionLists,
    WritingAs,
)
from tests.support.processing.events import event
from tests.support.processing.parking_stores import (
    DEFERRAL,
    SOURCE,
    Stores,
    at,
    claimed,
    defer,
    defer_key,
    in_list,
    leased,
    park_key,
    positions,
)


async def only_key(stores: Stores) -> ParkedKey:
    (found,) = await stores.parking.keys()
    return found


@pytest.mark.parametrize("key", ["k", None, Lone(at(10))], ids=["key", "keyless", "alone"])
async def test_deferred_key_has_its_event_and_its_deferral(stores: Stores, key: ListKey) -> None:
    """The next replay is due after the pause, by the store's clock."""
    store = stores.parking
    writing = await claimed(store)
    since = await defer(store, writing, key, 10, pause_seconds=1000)
    found = await only_key(stores)
    assert (found.key, found.entries) == (key, 1)
    assert found.since == pytest.approx(since)
    assert found.deferral == replace(DEFERRAL, since=since, last_try=since)
    assert found.due == pytest.approx(since + 1000, abs=1e-3)
    assert await in_list(store, key, 10) == Entry(at(10), EntryKind.EVENT, "e10")
    claim = await store.claim(SOURCE, [key])
    assert claim.parked == {key}
    assert claim.due == ()
    assert claim.latest == {key: pytest.approx(since)}
    lease = await leased(store, key)
    assert lease.deferral == found.deferral


async def test_later_events_of_a_deferred_key_join_its_list(stores: Stores) -> None:
    """No event overtakes the deferred event."""
    await defer_key(stores.parking, "k", 11, 12)
    assert await positions(stores.parking) == [at(10), at(11), at(12)]


async def test_repeated_deferring_changes_nothing(stores: Stores) -> None:
    """The answer to the first call may be lost."""
    store = stores.parking
    writing = await claimed(store)
    since = await defer(store, writing, "k", 10)
    before = await only_key(stores)
    again = await store.defer(
        *(writing, SOURCE, "k", (at(10), "again")),
        deferral=replace(DEFERRAL, attempts=99),
        pause_seconds=5,
    )
    assert again.state is ParkState.PARKED
    assert again.since == pytest.approx(since)
    assert await only_key(stores) == before
    assert await in_list(store, "k", 10) == Entry(at(10), EntryKind.EVENT, "e10")
    assert (await store.summary(SOURCE)).events == 1


async def test_deferring_appends_to_a_parked_list(stores: Stores) -> None:
    """The key keeps waiting for an operator."""
    store = stores.parking
    writing = await park_key(store)
    reply = await store.defer(
        writing, SOURCE, "k", (at(11), "e11"), deferral=DEFERRAL, pause_seconds=0
    )
    assert (reply.state, reply.since) == (ParkState.PARKED, 0.0)
    reply = await store.defer(
        writing, SOURCE, "k", (at(10), "e10"), deferral=DEFERRAL, pause_seconds=0
    )
    assert (reply.state, reply.since) == (ParkState.UNANNOUNCED, 0.0)
    assert (await only_key(stores)).deferral is None
    assert await positions(store) == [at(10), at(11)]
    assert await store.due(SOURCE, most=10) == []


async def test_replayed_event_is_not_deferred_again(stores: Stores) -> None:
    """The answer to the first call was lost, and a replay has handled the event since then."""
    store = stores.parking
    writing = await defer_key(store)
    await leased(store)
    await store.finish(SOURCE, "k", "t", at(10))
    reply = await store.defer(
        writing, SOURCE, "k", (at(10), "e10"), deferral=DEFERRAL, pause_seconds=0
    )
    assert reply.state is ParkState.REPLAYED
    assert await store.keys() == []
    assert await store.due(SOURCE, most=10, generation=5) == []


async def test_only_the_latest_owner_defers(stores: Stores) -> None:
    """An earlier owner's event would stand behind later events."""
    store = stores.parking
    before = await claimed(store)
    await store.claim(SOURCE)
    with pytest.raises(OwnershipLostError):
        await defer(store, before, "k", 10)
    assert await store.keys() == []


async def test_due_keys_come_first_due_first(stores: Stores) -> None:
    """A key whose pause has not passed is not due."""
    store = stores.parking
    writing = await claimed(store)
    for number, (key, pause) in enumerate([("c", -1.0), ("a", -3.0), (None, -2.0), ("d", 50.0)]):
        await defer(store, writing, key, number, pause_seconds=pause)
    assert await store.due(SOURCE, most=10) == ["a", None, "c"]
    assert await store.due(SOURCE, most=2) == ["a", None]
    assert (await store.claim(SOURCE)).due == ("a", None, "c")


async def test_claim_returns_a_limited_number_of_due_keys(stores: Stores) -> None:
    """One bad minute may defer thousands of keys."""
    store = stores.parking
    writing = await claimed(store)
    for number in range(DUE_KEYS + 5):
        await defer(store, writing, f"k{number}", number, pause_seconds=-1)
    assert len((await store.claim(SOURCE)).due) == DUE_KEYS
    assert len(await store.due(SOURCE, most=1000)) == DUE_KEYS + 5


async def test_first_claim_of_a_generation_makes_all_keys_due(stores: Stores) -> None:
    """The circuit has closed again, so nobody waits for the rest of a pause."""
    store = stores.parking
    writing = await claimed(store)
    await defer(store, writing, "k", 10)
    await store.poison(writing, SOURCE, "parked", at(11), "p")
    assert (await store.claim(SOURCE, generation=0)).due == ()
    claim = await store.claim(SOURCE, generation=3)
    assert claim.due == ("k",)
    await leased(store)
    await store.postpone(SOURCE, "k", "t", DEFERRAL, 100)
    assert (await store.claim(SOURCE, generation=3)).due == ()
    assert (await store.claim(SOURCE, generation=2)).due == ()
    assert await store.due(SOURCE, most=10, generation=3) == []
    assert await store.due(SOURCE, most=10, generation=4) == ["k"]
    await store.postpone(SOURCE, "k", "t", DEFERRAL, 100)
    assert (await store.claim(SOURCE, generation=4)).due == ()


async def test_claim_returns_the_latest_deferred_keys(stores: Stores) -> None:
    """The standstill rule needs the times of two keys; parked keys do not count."""
    store = stores.parking
    writing = await claimed(store)
    times = {key: await defer(store, writing, key, 1) for key in ("a", "b", "c")}
    await store.poison(writing, SOURCE, "d", at(1), "p")
    latest = (await store.claim(SOURCE)).latest
    assert list(latest) == ["c", "b"]
    assert latest == {key: pytest.approx(times[key]) for key in ("b", "c")}


async def test_claim_names_the_dependencies_of_the_latest_deferred_keys(stores: Stores) -> None:
    """A new owner reports each key to the circuit whose standstill rule it concerns."""
    store = stores.parking
    writing = await claimed(store)
    quoting = replace(DEFERRAL, dependency="", error='"dependency":"quoted"')
    events = [("a", DEFERRAL), ("b", quoting), ("c", replace(DEFERRAL, dependency="b.a-n_k"))]
    for number, (key, deferral) in enumerate(events):
        event = (at(number), "e")
        await store.defer(writing, SOURCE, key, event, deferral=deferral, pause_seconds=1)
    claim = await store.claim(SOURCE)
    assert list(claim.latest) == ["c", "b"]
    assert claim.latest_needs == {"c": "b.a-n_k"}


async def test_postponed_key_keeps_the_time_of_its_deferral(stores: Stores) -> None:
    """`since` counts from the first failure; the last try and the pause are those of the replay."""
    store = stores.parking
    await defer_key(store)
    before = await only_key(stores)
    await leased(store)
    long = replace(DEFERRAL, tries=4, rounds=2, error="x" * 1000, since=1.0, last_try=1.0)
    await store.postpone(SOURCE, "k", "t", long, 200)
    after = await only_key(stores)
    assert before.deferral is not None
    assert after.deferral is not None
    assert after.deferral == replace(
        long,
        since=before.deferral.since,
        last_try=after.deferral.last_try,
        error="x" * ERROR_CHARS,
    )
    assert after.deferral.last_try >= before.deferral.last_try
    assert after.due == pytest.approx(after.deferral.last_try + 200, abs=1e-3)


async def test_postponing_needs_the_lease(stores: Stores) -> None:
    """A replay that lost its lease must not change the pause of its successor."""
    store = stores.parking
    await defer_key(store)
    with pytest.raises(LeaseLostError):
        await store.postpone(SOURCE, "k", "t", DEFERRAL, 0)
    await leased(store, holder="other")
    with pytest.raises(LeaseLostError):
        await store.postpone(SOURCE, "k", "t", DEFERRAL, 0)
    assert await store.due(SOURCE, most=10) == []


async def test_key_that_is_not_deferred_is_not_postponed(stores: Stores) -> None:
    """A parked list waits for an operator, and a released key waits for nothing."""
    store = stores.parking
    await park_key(store)
    await leased(store)
    await store.postpone(SOURCE, "k", "t", DEFERRAL, 0)
    assert (await only_key(stores)).deferral is None
    await store.finish(SOURCE, "k", "t", at(10))
    await store.postpone(SOURCE, "k", "t", DEFERRAL, 0)
    assert await store.keys() == []
    assert await store.due(SOURCE, most=10) == []


@pytest.mark.parametrize("by", ["replay", "owner"])
async def test_deferred_key_with_a_poisoned_event_is_parked(stores: Stores, by: str) -> None:
    """Its replays wait for an operator; the events behind stay in order."""
    store = stores.parking
    writing = await defer_key(store, "k", 11)
    if by == "replay":
        await leased(store)
        await store.replace(SOURCE, "k", "t", at(10), "Ppoisoned")
    else:
        assert await store.poison(writing, SOURCE, "k", at(10), "poisoned") == "poisoned"
    await check_parked(stores, EntryKind.POISON if by == "replay" else EntryKind.UNANNOUNCED)


async def test_unannounced_event_of_a_replay_keeps_its_key_deferred(stores: Stores) -> None:
    """Only a replay announces the event: the checkpoint has passed it, so no lane will."""
    store = stores.parking
    await defer_key(store, "k", 11)
    since = (await only_key(stores)).since
    await leased(store)
    await store.postpone(SOURCE, "k", "t", replace(DEFERRAL, tries=7), 1000)
    for _ in range(2):  # a repeat changes nothing
        await store.replace(SOURCE, "k", "t", at(10), "Upoisoned")
        found = await only_key(stores)
        assert found.deferral is not None
        assert found.deferral.tries == 7
        assert found.deferral.since == pytest.approx(since)
        assert await store.due(SOURCE, most=10) == ["k"]
    await store.announced(SOURCE, "k", at(11))  # an event that is not poisoned
    assert (await only_key(stores)).deferral is not None
    for _ in range(2):
        await store.announced(SOURCE, "k", at(10))
        await check_parked(stores, EntryKind.POISON)


async def test_unannounced_event_of_a_redrive_defers_no_key(stores: Stores) -> None:
    """A parked key waits for an operator, who has seen that the redrive failed."""
    store = stores.parking
    await park_key(store, "k", 11)
    await leased(store)
    await store.replace(SOURCE, "k", "t", at(10), "Upoisoned")
    await check_parked(stores, EntryKind.UNANNOUNCED)


async def check_parked(stores: Stores, kind: EntryKind) -> None:
    """Check that nothing is left of the deferral of a key with two events."""
    store = stores.parking
    found = await only_key(stores)
    assert (found.entries, found.deferral, found.due) == (2, None, None)
    assert await in_list(store, "k", 10) == Entry(at(10), kind, "poisoned")
    claim = await store.claim(SOURCE, ["k"], generation=9)
    assert claim.parked == {"k"}
    assert claim.due == ()
    assert claim.latest == {}
    assert (claim.events, claim.size) == (2, len("poisoned") + len("e11"))
    assert (await store.summary(SOURCE)).deferred == 0


async def test_finished_deferred_key_is_released(stores: Stores) -> None:
    """Nothing of the deferral is left, and the key may be deferred again."""
    store = stores.parking
    writing = await defer_key(store, "k", 11)
    await leased(store)
    assert await store.finish(SOURCE, "k", "t", at(10)) == 1
    assert (await only_key(stores)).deferral is not None
    assert await store.finish(SOURCE, "k", "t", at(11)) == 0
    claim = await store.claim(SOURCE, ["k"], generation=9)
    assert claim.parked == frozenset()
    assert claim.due == ()
    assert claim.latest == {}
    assert (await leased(store)).deferral is None
    since = await defer(store, WritingAs(claim.owner, ""), "k", 12)
    assert (await only_key(stores)).since == pytest.approx(since)
    assert writing.owner < claim.owner


async def test_summary_has_the_numbers_of_the_lists(stores: Stores) -> None:
    """Size counts the bytes of the documents; the longest deferred key is the oldest."""
    store = stores.parking
    assert await store.summary(SOURCE) == PartitionLists()
    writing = await claimed(store)
    since = await defer(store, writing, "a", 1)
    await defer(store, writing, "b", 2)
    await store.poison(writing, SOURCE, "c", at(3), "täter")
    await store.park(writing, SOURCE, "c", [(at(4), "e4")])
    found = await store.summary(SOURCE)
    assert found == PartitionLists(3, 2, 4, 2 + 2 + 6 + 2, found.oldest)
    assert found.oldest is not None
    assert math.isclose(found.oldest, since)
    claim = await store.claim(SOURCE)
    assert (claim.events, claim.size) == (found.events, found.size)


async def test_operator_names_the_event_to_poison(stores: Stores) -> None:
    """The claim returns the id until the owner has acted and deletes it."""
    store = stores.parking
    await store.poison_head(SOURCE, "ns/events/0/7/70")
    assert (await store.claim(SOURCE)).poison_head == "ns/events/0/7/70"
    await store.poison_head(SOURCE, "")
    assert (await store.claim(SOURCE)).poison_head == ""


async def test_overdue_events_are_returned_by_later_claims(stores: Stores) -> None:
    """Marks add up; marking an event again changes nothing else."""
    store = stores.parking
    assert (await store.claim(SOURCE)).overdue == frozenset()
    first, second = position_of(event(7)), position_of(event(8))
    await store.mark_overdue(SOURCE, [first])
    await store.mark_overdue(SOURCE, [second, first])
    assert (await store.claim(SOURCE)).overdue == {first, second}
    assert (await store.claim(SOURCE)).overdue == {first, second}
    assert (await store.claim(Source(SOURCE.identity, "1"))).overdue == frozenset()


async def test_overdue_marks_expire(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event whose dependency has recovered is tried again."""
    store = stores.parking
    for module in ("memory", "redis"):
        monkeypatch.setattr(f"processing.parking.{module}.OVERDUE_SECONDS", 0.0)
    await store.mark_overdue(SOURCE, [position_of(event(7))])
    assert (await store.claim(SOURCE)).overdue == frozenset()


async def test_oldest_overdue_marks_are_dropped(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that stands still for all events must not fill Redis."""
    store = stores.parking
    for module in ("memory", "redis"):
        monkeypatch.setattr(f"processing.parking.{module}.OVERDUE_MARKS", 2)
    positions = [position_of(event(number)) for number in range(5)]
    await store.mark_overdue(SOURCE, positions[:2])
    await store.mark_overdue(SOURCE, positions[2:])
    assert (await store.claim(SOURCE)).overdue == set(positions[3:])
