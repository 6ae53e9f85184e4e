"""Contract of every parking store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from local.services.ports import free_port
from processing.errors import LeaseLostError, OwnershipLostError, StorageUnavailableError
from processing.identity import Identity, Source
from processing.parking.memory import MemoryParkingStore
from processing.parking.redis import RedisParkingStore
from processing.parking.store import Claim, Entry, EntryKind, ParkingStore, ParkReply, ParkState

IDENTITY = Identity("ns.example.net", "events", "$Default")
SOURCE = Source(IDENTITY, "0")
OTHER = Source(IDENTITY, "1")
LEASE_MS = 60_000


def at(number: int, enqueued_ms: int = 1_700_000_000_000) -> str:
    return f"{enqueued_ms + number:015d}:{number:020d}"


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ParkingStore]:
    if request.param == "memory":
        yield MemoryParkingStore(most=1000)
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as client:
        yield redis_store(client, most=1000)


def redis_store(
    client: Redis, identity: Identity = IDENTITY, *, most: int = 10
) -> RedisParkingStore:
    return RedisParkingStore(client, most=most, ttl_seconds=60, identity=identity)


async def park_key(store: ParkingStore, key: str | None = "k", *numbers: int) -> Claim:
    """Park a key behind event 10, and the events with these numbers behind it."""
    claim = await store.claim(SOURCE, "me", "")
    assert await store.poison(claim, SOURCE, key, at(10), "poison") == "poison"
    if numbers:
        reply = await store.park(claim, SOURCE, key, [(at(n), f"e{n}") for n in numbers])
        assert reply.states == (ParkState.PARKED,) * len(numbers)
    return claim


async def test_new_store_has_no_parked_key(store: ParkingStore) -> None:
    """Parking an event of a key that is not parked stores nothing and returns `released`."""
    claim = await store.claim(SOURCE, "me", "")
    assert claim == Claim("me")
    assert await store.park(claim, SOURCE, "k", [(at(1), "e")]) == ParkReply(released=True)
    assert await store.keys() == []
    assert await store.entries(SOURCE, "k") == []


async def test_entries_are_in_the_order_of_the_events(store: ParkingStore) -> None:
    """The order of the writes does not matter."""
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
    assert found.since > 1_600_000_000


async def test_each_key_has_its_own_list(store: ParkingStore) -> None:
    """No key, an empty key, unusual characters and other partitions have separate lists."""
    claim = await store.claim(SOURCE, "me", "")
    other = await store.claim(OTHER, "me", "")
    for key in (None, "", "ключ {x}:1"):
        await store.poison(claim, SOURCE, key, at(10), f"of {key}")
    await store.poison(other, OTHER, "k", at(10), "other")
    for key in (None, "", "ключ {x}:1"):
        (entry,) = await store.entries(SOURCE, key)
        assert entry.document == f"of {key}"
    assert (await store.claim(SOURCE, "you", "")).parked == {None, "", "ключ {x}:1"}
    assert (await store.claim(OTHER, "you", "")).parked == {"k"}
    assert len(await store.keys()) == 4


async def test_repeated_writes_change_nothing(store: ParkingStore) -> None:
    """The first verdict on a poisoned event stays.

    A caller repeats a write whose answer was lost, or whose events are redelivered.
    """
    claim = await park_key(store, "k", 11)
    assert await store.poison(claim, SOURCE, "k", at(10), "another verdict") == "poison"
    again = await store.park(claim, SOURCE, "k", [(at(n), "again") for n in (10, 11, 12)])
    assert again.states == (ParkState.UNANNOUNCED, ParkState.PARKED, ParkState.PARKED)
    await store.announced(SOURCE, "k", at(10))
    await store.announced(SOURCE, "k", at(10))
    again = await store.park(claim, SOURCE, "k", [(at(n), "again") for n in (10, 11)])
    assert again.states == (ParkState.POISON, ParkState.PARKED)
    assert [(each.kind, each.document) for each in await store.entries(SOURCE, "k")] == [
        (EntryKind.POISON, "poison"),
        (EntryKind.EVENT, "e11"),
        (EntryKind.EVENT, "again"),
    ]


async def test_only_the_latest_owner_parks(store: ParkingStore) -> None:
    """An earlier owner's call raises OwnershipLostError, and its parked events stay."""
    before = await park_key(store, "k", 11)
    after = await store.claim(SOURCE, "you", "")
    assert after.parked == {"k"}
    with pytest.raises(OwnershipLostError):
        await store.park(before, SOURCE, "k", [(at(12), "e")])
    with pytest.raises(OwnershipLostError):
        await store.poison(before, SOURCE, "j", at(13), "e")
    assert [each.position for each in await store.entries(SOURCE, "k")] == [at(10), at(11)]
    assert (await store.park(after, SOURCE, "k", [(at(12), "e")])).states == (ParkState.PARKED,)


async def test_key_is_released_with_its_last_entry(store: ParkingStore) -> None:
    """Events that arrive before the last entry is replayed are parked."""
    claim = await park_key(store, "k", 11)
    assert await store.lease(SOURCE, "k", "t", LEASE_MS)
    assert await store.finish(SOURCE, "k", "t", at(10), "verdict") == 1
    assert (await store.park(claim, SOURCE, "k", [(at(12), "e12")])).states == (ParkState.PARKED,)
    assert await store.finish(SOURCE, "k", "t", at(11)) == 1
    assert await store.finish(SOURCE, "k", "t", at(12)) == 0
    reply = await store.park(claim, SOURCE, "k", [(at(13), "e13")])
    assert reply == ParkReply(released=True, replayed=at(12))
    assert await store.keys() == []
    assert await store.is_stale(SOURCE, "verdict")
    assert not await store.is_stale(SOURCE, "another")


async def test_finish_can_be_repeated(store: ParkingStore) -> None:
    """A caller repeats a call whose answer was lost, also after the key was parked again."""
    claim = await park_key(store)
    await store.lease(SOURCE, "k", "t", LEASE_MS)
    assert await store.finish(SOURCE, "k", "t", at(10)) == 0
    assert await store.finish(SOURCE, "k", "t", at(10)) == 0
    await store.poison(claim, SOURCE, "k", at(14), "poison")
    assert await store.finish(SOURCE, "k", "t", at(10)) == 1


async def test_replayed_events_are_not_parked_again(store: ParkingStore) -> None:
    """The claim has each key's replayed position until the partition's progress has passed it."""
    claim = await park_key(store, "k", 11, 12)
    await store.lease(SOURCE, "k", "t", LEASE_MS)
    await store.finish(SOURCE, "k", "t", at(10))
    await store.finish(SOURCE, "k", "t", at(11))
    reply = await store.park(claim, SOURCE, "k", [(at(n), "e") for n in (10, 11, 12, 13)])
    assert reply.states == (
        ParkState.REPLAYED,
        ParkState.REPLAYED,
        ParkState.PARKED,
        ParkState.PARKED,
    )
    assert (await store.claim(SOURCE, "you", "")).replayed == {"k": at(11)}
    assert (await store.claim(SOURCE, "you", at(10))).replayed == {"k": at(11)}
    assert (await store.claim(SOURCE, "you", at(11))).replayed == {}, "progress has passed it"


async def test_replayed_poisoned_event_is_not_parked_again(store: ParkingStore) -> None:
    """The next event of the key is parked.

    The answer to the first call may be lost, and a redrive may replay the event before the retry.
    """
    claim = await park_key(store)
    await store.lease(SOURCE, "k", "t", LEASE_MS)
    await store.finish(SOURCE, "k", "t", at(10))
    assert await store.poison(claim, SOURCE, "k", at(10), "poison") is None
    assert await store.keys() == []
    assert await store.poison(claim, SOURCE, "k", at(11), "next") == "next"


async def test_later_event_with_an_earlier_time_is_parked(store: ParkingStore) -> None:
    """The hub's clock may go back, so an earlier time does not mark an event as replayed."""
    claim = await park_key(store, "k", 13)
    await store.lease(SOURCE, "k", "t", LEASE_MS)
    await store.finish(SOURCE, "k", "t", at(10))
    early = at(11, enqueued_ms=1_600_000_000_000)
    reply = await store.park(claim, SOURCE, "k", [(early, "e")])
    assert reply.states == (ParkState.PARKED,)
    assert await store.poison(claim, SOURCE, "k", at(12, 1_600_000_000_000), "poison") == "poison"


async def test_forget_removes_replayed_positions_behind_a_rewind(store: ParkingStore) -> None:
    """Events behind the rewind position are processed again."""
    await park_key(store)
    await store.lease(SOURCE, "k", "t", LEASE_MS)
    await store.finish(SOURCE, "k", "t", at(10))
    await store.forget(SOURCE, at(10))
    assert (await store.claim(SOURCE, "you", "")).replayed == {"k": at(10)}
    await store.forget(SOURCE, at(9))
    assert (await store.claim(SOURCE, "you", "")).replayed == {}


async def test_events_of_a_recreated_hub_are_parked_last(store: ParkingStore) -> None:
    """A recreated hub counts from 0 again, but its events have later enqueued times."""
    claim = await park_key(store)
    later = at(3, enqueued_ms=1_800_000_000_000)
    await store.park(claim, SOURCE, "k", [(later, "new")])
    assert [each.position for each in await store.entries(SOURCE, "k")] == [at(10), later]


async def test_key_has_one_lease(store: ParkingStore) -> None:
    """Two redrives never hold the same key, and other keys stay free."""
    assert await store.lease(SOURCE, "k", "a", LEASE_MS)
    assert await store.lease(SOURCE, "k", "a", LEASE_MS)
    assert not await store.lease(SOURCE, "k", "b", LEASE_MS)
    assert await store.lease(SOURCE, "j", "b", LEASE_MS)
    assert await store.renew(SOURCE, "k", "a", LEASE_MS)
    assert not await store.renew(SOURCE, "k", "b", LEASE_MS)
    await store.release(SOURCE, "k", "b")
    assert not await store.lease(SOURCE, "k", "b", LEASE_MS)
    await store.release(SOURCE, "k", "a")
    assert await store.lease(SOURCE, "k", "b", LEASE_MS)


async def test_redrive_without_the_lease_changes_nothing(store: ParkingStore) -> None:
    """Calls with another redrive's lease raise LeaseLostError."""
    await park_key(store)
    await store.lease(SOURCE, "k", "a", LEASE_MS)
    with pytest.raises(LeaseLostError):
        await store.finish(SOURCE, "k", "b", at(10))
    with pytest.raises(LeaseLostError):
        await store.replace(SOURCE, "k", "b", at(10), "Pnew")
    await store.replace(SOURCE, "k", "a", at(10), "Pnew")
    assert await store.entries(SOURCE, "k") == [Entry(at(10), EntryKind.POISON, "new")]
    assert await store.document(SOURCE, "k", at(10)) == Entry(at(10), EntryKind.POISON, "new")
    assert await store.document(SOURCE, "k", at(11)) is None


async def test_one_call_parks_many_events(store: ParkingStore) -> None:
    """600 events fit into one call."""
    claim = await park_key(store)
    events = [(at(n), "e") for n in range(11, 611)]
    assert len((await store.park(claim, SOURCE, "k", events)).states) == 600


async def test_full_list_refuses_events(store: ParkingStore) -> None:
    """The caller must hold, because no event may be dropped."""
    claim = await park_key(store)
    with pytest.raises(StorageUnavailableError, match="PROCESSING_PARKED_EVENTS_MAX"):
        await store.park(claim, SOURCE, "k", [(at(n), "e") for n in range(11, 1012)])
    assert len(await store.entries(SOURCE, "k", most=5000)) == 1000


async def test_namespaces_have_separate_parked_keys(redis_url: str) -> None:
    """Two namespaces may have hubs of the same name and use one Redis."""
    async with Redis.from_url(redis_url) as client:
        store = redis_store(client)
        await park_key(store)
        foreign = replace(IDENTITY, namespace="east.example")
        east = redis_store(client, foreign)
        assert (await east.claim(Source(foreign, "0"), "me", "")).parked == frozenset()
        assert await east.keys() == []
        spelled = replace(IDENTITY, namespace="NS.example.net:5671", consumer_group="$DEFAULT")
        again = redis_store(client, spelled)
        assert (await again.claim(Source(spelled, "0"), "me", "")).parked == {"k"}
        assert [each.key for each in await again.keys()] == ["k"]


async def test_lease_expires(redis_url: str) -> None:
    """The key of a crashed redrive becomes free."""
    async with Redis.from_url(redis_url) as client:
        store = redis_store(client)
        await store.lease(SOURCE, "k", "a", LEASE_MS)
        (name,) = [key async for key in client.scan_iter("*lease*")]
        assert 0 < await client.pttl(name) <= LEASE_MS
        await client.delete(name)
        assert not await store.renew(SOURCE, "k", "a", LEASE_MS)


async def test_claim_renews_the_expiry_of_replayed_positions(redis_url: str) -> None:
    """A batch that is held for days claims its partition repeatedly and completes no event."""
    async with Redis.from_url(redis_url) as client:
        store = redis_store(client)
        await park_key(store)
        await store.lease(SOURCE, "k", "t", LEASE_MS)
        await store.finish(SOURCE, "k", "t", at(10))
        (name,) = [key async for key in client.scan_iter("*replayed")]
        await client.expire(name, 30)
        await store.claim(SOURCE, "me", "")
        assert await client.ttl(name) > 30


async def test_parked_events_never_expire(redis_url: str) -> None:
    """All other keys expire."""
    async with Redis.from_url(redis_url) as client:
        store = redis_store(client)
        await park_key(store, "k", 11)
        await store.lease(SOURCE, "k", "t", LEASE_MS)
        await store.finish(SOURCE, "k", "t", at(10), "verdict")
        lasting = {key async for key in client.scan_iter() if await client.ttl(key) == -1}
        prefix = "breakwater:{ns.example.net/events/$default/default/0}:parking:"
        names = {"keys", "entries:=k", "documents:=k"}
        partitions = b"breakwater:{ns.example.net/events/$default/default}:parked"
        assert lasting == {partitions, *(f"{prefix}{name}".encode() for name in names)}


async def test_unreachable_redis_raises_storage_unavailable() -> None:
    """The driver's own exception must not reach the caller."""
    async with Redis.from_url(f"redis://127.0.0.1:{free_port()}/0") as client:
        store = redis_store(client)
        with pytest.raises(StorageUnavailableError, match="parking"):
            await store.claim(SOURCE, "me", "")
        with pytest.raises(StorageUnavailableError, match="parking"):
            await store.keys()
