"""Contract of every parking store: lists that wait for an operator."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from local.services.ports import free_port
from processing.errors import LeaseLostError, OwnershipLostError, StorageUnavailableError
from processing.identity import Source
from processing.parking.event import Lone
from processing.parking.redis import RedisParkingStore
from processing.parking.store import Claim, Entry, EntryKind, Lease, ParkReply, ParkState, WritingAs
from processing.progress.store import Progress
from tests.support.processing.parking_stores import (
    IDENTITY,
    LEASE_MS,
    OTHER,
    SOURCE,
    Stores,
    at,
    claimed,
    leased,
    park_key,
    positions,
)


async def test_new_store_has_no_parked_key(stores: Stores) -> None:
    """Parking an event of a key that is not parked stores nothing and returns `released`."""
    store = stores.parking
    claim = await store.claim(SOURCE, ["k", None])
    assert claim == Claim(Progress(owner=claim.owner))
    reply = await store.park(WritingAs(claim.owner, ""), SOURCE, "k", [(at(1), "e")])
    assert reply == ParkReply(released=True)
    assert await store.keys() == []
    assert await store.entries(SOURCE, "k") == []


async def test_entries_are_in_the_order_of_the_events(stores: Stores) -> None:
    """The order of the writes does not matter."""
    store = stores.parking
    await park_key(store, "k", 12, 11)
    assert await store.entries(SOURCE, "k") == [
        Entry(at(10), EntryKind.UNANNOUNCED, "poison"),
        Entry(at(11), EntryKind.EVENT, "e11"),
        Entry(at(12), EntryKind.EVENT, "e12"),
    ]
    assert [each.position for each in await store.entries(SOURCE, "k", after=at(10))] == [
        at(11),
        at(12),
    ]
    assert len(await store.entries(SOURCE, "k", most=2)) == 2
    (found,) = await store.keys()
    assert (found.source, found.key, found.entries) == (SOURCE, "k", 3)
    assert (found.deferral, found.due) == (None, None)
    assert found.since > 1_600_000_000


async def test_each_key_has_its_own_list(stores: Stores) -> None:
    """No key, an empty key, a single event, unusual characters and other partitions are apart."""
    store = stores.parking
    names = (None, "", Lone(at(10)), f"#{at(10)}", 'ключ {x}:1 "\\\n')
    writing, other = await claimed(store), await claimed(store, OTHER)
    for key in names:
        await store.poison(writing, SOURCE, key, at(10), f"of {key}")
    await store.poison(other, OTHER, "k", at(10), "other")
    for key in names:
        (entry,) = await store.entries(SOURCE, key)
        assert entry.document == f"of {key}"
    assert (await store.claim(SOURCE, ["k", *names, Lone(at(11))])).parked == set(names)
    assert (await store.claim(OTHER, ["k", None])).parked == {"k"}
    assert len(await store.keys()) == 6
    assert set(await store.sources()) == {SOURCE, OTHER}


async def test_claim_names_the_keys_of_the_batch_only(stores: Stores) -> None:
    """A partition may have many more lists than a batch has keys; the batch may have many keys."""
    store = stores.parking
    writing = await claimed(store)
    for number in range(5):
        await store.poison(writing, SOURCE, f"k{number}", at(number), "p")
    await leased(store, "k3")
    await store.finish(SOURCE, "k3", "t", at(3))
    claim = await store.claim(SOURCE, [f"k{number}" for number in range(2500, 2, -1)])
    assert claim.parked == {"k4"}
    assert claim.replayed == {"k3": f"{at(3)}|{at(3)}"}
    assert claim.events == 4


async def test_repeated_writes_change_nothing(stores: Stores) -> None:
    """The first verdict on a poisoned event stays.

    A caller repeats a write whose answer was lost, or whose events are redelivered.
    """
    store = stores.parking
    writing = await park_key(store, "k", 11)
    assert await store.poison(writing, SOURCE, "k", at(10), "another verdict") == "poison"
    again = await store.park(writing, SOURCE, "k", [(at(n), "again") for n in (10, 11, 12)])
    assert again.states == (ParkState.UNANNOUNCED, ParkState.PARKED, ParkState.PARKED)
    await store.announced(SOURCE, "k", at(10))
    await store.announced(SOURCE, "k", at(10))
    await store.announced(SOURCE, "k", at(11))
    again = await store.park(writing, SOURCE, "k", [(at(n), "again") for n in (10, 11)])
    assert again.states == (ParkState.POISON, ParkState.PARKED)
    assert [(each.kind, each.document) for each in await store.entries(SOURCE, "k")] == [
        (EntryKind.POISON, "poison"),
        (EntryKind.EVENT, "e11"),
        (EntryKind.EVENT, "again"),
    ]
    assert (await store.summary(SOURCE)).events == 3


async def test_only_the_latest_owner_parks(stores: Stores) -> None:
    """An earlier owner's call raises OwnershipLostError, and its parked events stay."""
    store = stores.parking
    before = await park_key(store, "k", 11)
    claim = await store.claim(SOURCE, ["k"])
    assert claim.parked == {"k"}
    assert claim.previous == before.owner
    assert claim.owner > before.owner
    with pytest.raises(OwnershipLostError):
        await store.park(before, SOURCE, "k", [(at(12), "e")])
    with pytest.raises(OwnershipLostError):
        await store.poison(before, SOURCE, "j", at(13), "e")
    assert await positions(store) == [at(10), at(11)]
    after = WritingAs(claim.owner, "")
    assert (await store.park(after, SOURCE, "k", [(at(12), "e")])).states == (ParkState.PARKED,)


async def test_reset_of_the_progress_ends_the_claim(stores: Stores) -> None:
    """Progress and lists have one owner."""
    store = stores.parking
    before = await park_key(store)
    fresh = await stores.progress.reset(SOURCE)
    with pytest.raises(OwnershipLostError):
        await store.park(before, SOURCE, "k", [(at(11), "e")])
    after = WritingAs(fresh.owner, "")
    assert (await store.park(after, SOURCE, "k", [(at(11), "e")])).states == (ParkState.PARKED,)


async def test_key_is_released_with_its_last_entry(stores: Stores) -> None:
    """Events that arrive before the last entry is replayed are parked."""
    store = stores.parking
    writing = await park_key(store, "k", 11)
    await leased(store)
    assert await store.finish(SOURCE, "k", "t", at(10), "verdict") == 1
    assert (await store.park(writing, SOURCE, "k", [(at(12), "e12")])).states == (ParkState.PARKED,)
    assert await store.finish(SOURCE, "k", "t", at(11)) == 1
    assert await store.finish(SOURCE, "k", "t", at(12)) == 0
    reply = await store.park(writing, SOURCE, "k", [(at(13), "e13")])
    assert reply == ParkReply(released=True, replayed=f"{at(12)}|{at(10)}")
    assert await store.keys() == []
    assert await store.is_stale(SOURCE, "verdict")
    assert not await store.is_stale(SOURCE, "another")


async def test_finish_can_be_repeated(stores: Stores) -> None:
    """A caller repeats a call whose answer was lost, also after the key was parked again."""
    store = stores.parking
    writing = await park_key(store)
    await leased(store)
    assert await store.finish(SOURCE, "k", "t", at(10)) == 0
    assert await store.finish(SOURCE, "k", "t", at(10)) == 0
    await store.poison(writing, SOURCE, "k", at(14), "poison")
    assert await store.finish(SOURCE, "k", "t", at(10)) == 1
    assert (await store.claim(SOURCE, ["k"])).replayed == {"k": f"{at(10)}|{at(10)}"}
    assert (await store.summary(SOURCE)).events == 1


async def test_park_without_events_places_the_token_only(stores: Stores) -> None:
    """The key may have no list."""
    store = stores.parking
    owner = (await store.claim(SOURCE)).owner
    assert await store.park(WritingAs(owner, "m", creates=True), SOURCE, "k", []) == ParkReply()
    claim = await store.claim(SOURCE)
    assert (claim.mark, claim.events) == ("m", 0)


async def test_events_of_a_recreated_hub_are_parked_last(stores: Stores) -> None:
    """A recreated hub counts from 0 again, but its events have later enqueued times."""
    store = stores.parking
    writing = await park_key(store)
    later = at(3, enqueued_ms=1_800_000_000_000)
    await store.park(writing, SOURCE, "k", [(later, "new")])
    assert await positions(store) == [at(10), later]


async def test_key_has_one_lease(stores: Stores) -> None:
    """Two redrives never hold the same key, and other keys stay free."""
    store = stores.parking
    assert await store.lease(SOURCE, "k", "a", LEASE_MS) == Lease()
    assert await store.lease(SOURCE, "k", "a", LEASE_MS)
    assert await store.lease(SOURCE, "k", "b", LEASE_MS) is None
    assert await store.lease(SOURCE, "j", "b", LEASE_MS)
    assert await store.renew(SOURCE, "k", "a", LEASE_MS)
    assert not await store.renew(SOURCE, "k", "b", LEASE_MS)
    await store.release(SOURCE, "k", "b")
    assert await store.lease(SOURCE, "k", "b", LEASE_MS) is None
    await store.release(SOURCE, "k", "a")
    assert await store.lease(SOURCE, "k", "b", LEASE_MS)


async def test_redrive_without_the_lease_changes_nothing(stores: Stores) -> None:
    """Calls with another redrive's lease raise LeaseLostError."""
    store = stores.parking
    await park_key(store)
    await leased(store, holder="a")
    with pytest.raises(LeaseLostError):
        await store.finish(SOURCE, "k", "b", at(10))
    with pytest.raises(LeaseLostError):
        await store.replace(SOURCE, "k", "b", at(10), "Pnew")
    await store.replace(SOURCE, "k", "a", at(10), "Pnew")
    await store.replace(SOURCE, "k", "a", at(11), "Pnew")
    assert await store.entries(SOURCE, "k") == [Entry(at(10), EntryKind.POISON, "new")]
    assert await store.document(SOURCE, "k", at(10)) == Entry(at(10), EntryKind.POISON, "new")
    assert await store.document(SOURCE, "k", at(11)) is None


async def test_one_call_parks_many_events(stores: Stores) -> None:
    """600 events fit into one call."""
    writing = await park_key(stores.parking)
    events = [(at(n), "e") for n in range(11, 611)]
    assert len((await stores.parking.park(writing, SOURCE, "k", events)).states) == 600


async def test_namespaces_have_separate_parked_keys(redis_url: str) -> None:
    """Two namespaces may have hubs of the same name and use one Redis."""
    async with Redis.from_url(redis_url) as client:
        store = RedisParkingStore(client, most=10, ttl_seconds=60, identity=IDENTITY)
        await park_key(store)
        foreign = replace(IDENTITY, namespace="east.example")
        east = RedisParkingStore(client, most=10, ttl_seconds=60, identity=foreign)
        assert (await east.claim(Source(foreign, "0"), ["k"])).parked == frozenset()
        assert await east.keys() == []
        spelled = replace(IDENTITY, namespace="NS.example.net:5671", consumer_group="$DEFAULT")
        again = RedisParkingStore(client, most=10, ttl_seconds=60, identity=spelled)
        assert (await again.claim(Source(spelled, "0"), ["k"])).parked == {"k"}
        assert [each.key for each in await again.keys()] == ["k"]


async def test_unreachable_redis_raises_storage_unavailable() -> None:
    """The driver's own exception must not reach the caller."""
    async with Redis.from_url(f"redis://127.0.0.1:{free_port()}/0") as client:
        store = RedisParkingStore(client, most=10, ttl_seconds=60, identity=IDENTITY)
        with pytest.raises(StorageUnavailableError, match="parking"):
            await store.claim(SOURCE)
        with pytest.raises(StorageUnavailableError, match="parking"):
            await store.keys()
        with pytest.raises(StorageUnavailableError, match="parking"):
            await store.finish(SOURCE, "k", "t", at(1))
