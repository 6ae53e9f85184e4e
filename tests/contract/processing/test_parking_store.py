"""One suite for every parking store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from local.services.ports import free_port
from processing.errors import LeaseLostError, OwnershipLostError, StorageUnavailableError
from processing.event import Source
from processing.parking.memory import MemoryParkingStore
from processing.parking.redis import RedisParkingStore
from processing.parking.store import Claim, Entry, EntryKind, ParkingStore, ParkReply, ParkState

SOURCE = Source("events", "$Default", "0")
OTHER = Source("events", "$Default", "1")
LEASE_MS = 60_000


def at(number: int, enqueued_ms: int = 1_700_000_000_000) -> str:
    return f"{enqueued_ms + number:015d}:{number:020d}"


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ParkingStore]:
    if request.param == "memory":
        yield MemoryParkingStore(most=1000)
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as client:
        yield RedisParkingStore(client, most=1000, ttl_seconds=60)


async def parked(store: ParkingStore, key: str | None = "k", *numbers: int) -> Claim:
    """A key parked by event 10, with more behind it."""
    claim = await store.claim(SOURCE, "me", "")
    assert await store.poison(claim, SOURCE, key, at(10), "poison") == "poison"
    if numbers:
        reply = await store.park(claim, SOURCE, key, [(at(n), f"e{n}") for n in numbers])
        assert reply.states == (ParkState.PARKED,) * len(numbers)
    return claim


async def test_nothing_is_parked_at_first(store: ParkingStore) -> None:
    """A key that is not parked takes nothing, and says so."""
    claim = await store.claim(SOURCE, "me", "")
    assert claim == Claim("me")
    assert await store.park(claim, SOURCE, "k", [(at(1), "e")]) == ParkReply(released=True)
    assert await store.keys() == []
    assert await store.entries(SOURCE, "k") == []


async def test_parks_in_order(store: ParkingStore) -> None:
    """The list is in the order of the events, whatever the order of the writes."""
    await parked(store, "k", 12, 11)
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


async def test_keys_are_apart(store: ParkingStore) -> None:
    """No key, an empty one, odd ones and other partitions: each has its own list."""
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


async def test_repeats_change_nothing(store: ParkingStore) -> None:
    """A write whose answer was lost, or a redelivery, parks nothing twice; the first verdict on a
    poisoned event stays.
    """
    claim = await parked(store, "k", 11)
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
    """An owner whose partition was claimed by another parks nothing; what it parked stays."""
    before = await parked(store, "k", 11)
    after = await store.claim(SOURCE, "you", "")
    assert after.parked == {"k"}
    with pytest.raises(OwnershipLostError):
        await store.park(before, SOURCE, "k", [(at(12), "e")])
    with pytest.raises(OwnershipLostError):
        await store.poison(before, SOURCE, "j", at(13), "e")
    assert [each.position for each in await store.entries(SOURCE, "k")] == [at(10), at(11)]
    assert (await store.park(after, SOURCE, "k", [(at(12), "e")])).states == (ParkState.PARKED,)


async def test_replay_releases_with_the_last_entry(store: ParkingStore) -> None:
    """The key is parked until its last entry is replayed, and not a moment longer."""
    claim = await parked(store, "k", 11)
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


async def test_finish_is_repeat_safe(store: ParkingStore) -> None:
    """A lost answer is asked for again, also after the key was parked anew."""
    claim = await parked(store)
    await store.lease(SOURCE, "k", "t", LEASE_MS)
    assert await store.finish(SOURCE, "k", "t", at(10)) == 0
    assert await store.finish(SOURCE, "k", "t", at(10)) == 0
    await store.poison(claim, SOURCE, "k", at(14), "poison")
    assert await store.finish(SOURCE, "k", "t", at(10)) == 1


async def test_replayed_events_are_known(store: ParkingStore) -> None:
    """A redelivered event that a redrive has replayed is not parked again, and the owner knows."""
    claim = await parked(store, "k", 11, 12)
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
    assert (await store.claim(SOURCE, "you", at(11))).replayed == {}  # progress knows it now


async def test_a_poisoned_event_that_was_replayed(store: ParkingStore) -> None:
    """If the answer to parking it was lost and a redrive was faster than the repeat, it is not
    parked again; the next one of its key is.
    """
    claim = await parked(store)
    await store.lease(SOURCE, "k", "t", LEASE_MS)
    await store.finish(SOURCE, "k", "t", at(10))
    assert await store.poison(claim, SOURCE, "k", at(10), "poison") is None
    assert await store.keys() == []
    assert await store.poison(claim, SOURCE, "k", at(11), "next") == "next"


async def test_a_later_event_with_an_earlier_time(store: ParkingStore) -> None:
    """Should the hub's clock have gone back, an event behind a replayed one is not taken for it."""
    claim = await parked(store, "k", 13)
    await store.lease(SOURCE, "k", "t", LEASE_MS)
    await store.finish(SOURCE, "k", "t", at(10))
    early = at(11, enqueued_ms=1_600_000_000_000)
    reply = await store.park(claim, SOURCE, "k", [(early, "e")])
    assert reply.states == (ParkState.PARKED,)
    assert await store.poison(claim, SOURCE, "k", at(12, 1_600_000_000_000), "poison") == "poison"


async def test_rewound_events_are_not_known(store: ParkingStore) -> None:
    """What an operator rewinds to is processed again although it was replayed."""
    await parked(store)
    await store.lease(SOURCE, "k", "t", LEASE_MS)
    await store.finish(SOURCE, "k", "t", at(10))
    await store.forget(SOURCE, at(10))
    assert (await store.claim(SOURCE, "you", "")).replayed == {"k": at(10)}
    await store.forget(SOURCE, at(9))
    assert (await store.claim(SOURCE, "you", "")).replayed == {}


async def test_events_of_a_new_hub_come_behind(store: ParkingStore) -> None:
    """A hub that was made again counts anew: its events are later, and others."""
    claim = await parked(store)
    later = at(3, enqueued_ms=1_800_000_000_000)
    await store.park(claim, SOURCE, "k", [(later, "new")])
    assert [each.position for each in await store.entries(SOURCE, "k")] == [at(10), later]


async def test_one_lease_per_key(store: ParkingStore) -> None:
    """Two redrives never have the same key; other keys are free."""
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


async def test_without_the_lease_nothing_is_removed(store: ParkingStore) -> None:
    """A redrive whose lease is another's can't remove, release or change anything."""
    await parked(store)
    await store.lease(SOURCE, "k", "a", LEASE_MS)
    with pytest.raises(LeaseLostError):
        await store.finish(SOURCE, "k", "b", at(10))
    with pytest.raises(LeaseLostError):
        await store.replace(SOURCE, "k", "b", at(10), "Pnew")
    await store.replace(SOURCE, "k", "a", at(10), "Pnew")
    assert await store.entries(SOURCE, "k") == [Entry(at(10), EntryKind.POISON, "new")]
    assert await store.document(SOURCE, "k", at(10)) == Entry(at(10), EntryKind.POISON, "new")
    assert await store.document(SOURCE, "k", at(11)) is None


async def test_many_at_once(store: ParkingStore) -> None:
    """A large chunk fits into one call."""
    claim = await parked(store)
    events = [(at(n), "e") for n in range(11, 611)]
    assert len((await store.park(claim, SOURCE, "k", events)).states) == 600


async def test_a_full_list_refuses(store: ParkingStore) -> None:
    """Beyond the limit nothing is dropped: the caller must hold."""
    claim = await parked(store)
    with pytest.raises(StorageUnavailableError, match="PROCESSING_PARKED_EVENTS_MAX"):
        await store.park(claim, SOURCE, "k", [(at(n), "e") for n in range(11, 1012)])
    assert len(await store.entries(SOURCE, "k", most=5000)) == 1000


async def test_namespaces_are_apart(redis_url: str) -> None:
    """Hubs of the same name in two namespaces on one Redis park their own events."""
    async with Redis.from_url(redis_url) as client:
        west = RedisParkingStore(client, most=10, ttl_seconds=60, namespace="West.example")
        await parked(west)
        east = RedisParkingStore(client, most=10, ttl_seconds=60, namespace="east.example")
        assert (await east.claim(SOURCE, "me", "")).parked == frozenset()
        assert await east.keys() == []
        again = RedisParkingStore(client, most=10, ttl_seconds=60, namespace="west.example")
        assert (await again.claim(SOURCE, "me", "")).parked == {"k"}


async def test_lease_runs_out(redis_url: str) -> None:
    """A redrive that died lets go of its key."""
    async with Redis.from_url(redis_url) as client:
        store = RedisParkingStore(client, most=10, ttl_seconds=60)
        await store.lease(SOURCE, "k", "a", LEASE_MS)
        (name,) = [key async for key in client.scan_iter("*lease*")]
        assert 0 < await client.pttl(name) <= LEASE_MS
        await client.delete(name)
        assert not await store.renew(SOURCE, "k", "a", LEASE_MS)


async def test_a_held_batch_keeps_what_was_replayed(redis_url: str) -> None:
    """A batch that is claimed again and again without going on, for days, forgets nothing."""
    async with Redis.from_url(redis_url) as client:
        store = RedisParkingStore(client, most=10, ttl_seconds=60)
        await parked(store)
        await store.lease(SOURCE, "k", "t", LEASE_MS)
        await store.finish(SOURCE, "k", "t", at(10))
        (name,) = [key async for key in client.scan_iter("*replayed")]
        await client.expire(name, 30)
        await store.claim(SOURCE, "me", "")
        assert await client.ttl(name) > 30


async def test_parked_events_never_expire(redis_url: str) -> None:
    """Everything else does."""
    async with Redis.from_url(redis_url) as client:
        store = RedisParkingStore(client, most=10, ttl_seconds=60)
        await parked(store, "k", 11)
        await store.lease(SOURCE, "k", "t", LEASE_MS)
        await store.finish(SOURCE, "k", "t", at(10), "verdict")
        lasting = {key async for key in client.scan_iter() if await client.ttl(key) == -1}
        prefix = "parking::{events/$Default/0}:"
        names = {"keys", "entries:=k", "documents:=k"}
        assert lasting == {b"parking::sources", *(f"{prefix}{name}".encode() for name in names)}


async def test_unreachable_redis() -> None:
    """A driver's exception never reaches the caller as such."""
    async with Redis.from_url(f"redis://127.0.0.1:{free_port()}/0") as client:
        store = RedisParkingStore(client, most=10, ttl_seconds=60)
        with pytest.raises(StorageUnavailableError, match="parking"):
            await store.claim(SOURCE, "me", "")
        with pytest.raises(StorageUnavailableError, match="parking"):
            await store.keys()
