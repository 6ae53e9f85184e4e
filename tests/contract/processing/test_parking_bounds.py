"""Contract of every parking store: limits of lists, and the mark's token beside them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from processing.errors import ParkedEventsLostError, ParkingFullError
from processing.parking.store import ParkReply, ParkState, WritingAs
from tests.support.processing.parking_stores import (
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


async def test_full_list_refuses_events(stores: Stores) -> None:
    """The events that fit are parked; the caller must hold, because no event may be dropped."""
    store = stores.open(most=20)
    writing = await park_key(store)
    reply = await store.park(writing, SOURCE, "k", [(at(n), "e") for n in range(11, 40)])
    assert reply.states == (ParkState.PARKED,) * 19, "the caller finishes them, and no others"
    with pytest.raises(ParkingFullError, match="PROCESSING_PARKED_EVENTS_MAX"):
        await store.park(writing, SOURCE, "k", [(at(n), "e") for n in range(30, 40)])
    assert len(await positions(store)) == 20
    assert (await store.summary(SOURCE)).events == 20
    again = await store.park(writing, SOURCE, "k", [(at(n), "e") for n in range(11, 30)])
    assert again.states == (ParkState.PARKED,) * 19, "a repeat is no new event"


async def test_event_budget_bounds_deferred_keys(stores: Stores) -> None:
    """At the limit no event is deferred or joins a deferred key; parked keys are not concerned."""
    store = stores.open(most=1000, most_events=3)
    writing = await defer_key(store, "k", 11)
    await store.poison(writing, SOURCE, "parked", at(20), "p")
    with pytest.raises(ParkingFullError, match=r"3 events.*PROCESSING_DEFERRED_EVENTS_MAX"):
        await defer(store, writing, "j", 12)
    with pytest.raises(ParkingFullError, match="PROCESSING_DEFERRED_EVENTS_MAX"):
        await store.park(writing, SOURCE, "k", [(at(12), "e")])
    assert await positions(store) == [at(10), at(11)]
    assert await positions(store, "j") == []
    await store.park(writing, SOURCE, "parked", [(at(21), "e"), (at(22), "e")])
    assert await store.poison(writing, SOURCE, "other", at(23), "p") == "p"
    assert (await store.park(writing, SOURCE, "k", [(at(11), "e")])).states == (ParkState.PARKED,)
    assert await store.park(writing, SOURCE, "new", [(at(24), "e")]) == ParkReply(released=True)


async def test_event_budget_counts_lists_of_an_owner_that_has_not_claimed(stores: Stores) -> None:
    """Redis has lost the totals with all data, and the next claim is yet to count them again."""
    store = stores.open(most=1000, most_events=3)
    writing = WritingAs((await stores.progress.reset(SOURCE)).owner, "")
    for number, key in enumerate("abc"):
        await defer(store, writing, key, 10 + number)
    with pytest.raises(ParkingFullError, match="PROCESSING_DEFERRED_EVENTS_MAX"):
        await defer(store, writing, "d", 13)
    with pytest.raises(ParkingFullError, match="PROCESSING_DEFERRED_EVENTS_MAX"):
        await store.park(writing, SOURCE, "a", [(at(14), "e")])
    assert (await store.summary(SOURCE)).events == 3


async def test_budget_of_zero_defers_nothing(stores: Stores) -> None:
    """The setting switches deferring off."""
    store = stores.open(most=10, most_events=0)
    with pytest.raises(ParkingFullError):
        await defer(store, await claimed(store), "k", 10)
    assert await store.keys() == []


async def test_size_limit_concerns_every_list(stores: Stores) -> None:
    """The bytes of all lists of the partition count; exactly the limit fits."""
    store = stores.open(most=10, most_bytes=20)
    writing = await claimed(store)
    assert await store.poison(writing, SOURCE, "k", at(1), "p" * 8)
    assert (await store.park(writing, SOURCE, "k", [(at(2), "ö" * 6)])).states
    for add in (
        lambda: store.poison(writing, SOURCE, "j", at(3), "p"),
        lambda: store.park(writing, SOURCE, "k", [(at(3), "e")]),
        lambda: defer(store, writing, "j", 3),
    ):
        call: Callable[[], Awaitable[object]] = add
        with pytest.raises(ParkingFullError, match="PROCESSING_PARKED_MEGABYTES_MAX"):
            await call()
    assert (await store.summary(SOURCE)).size == 20
    assert await store.poison(writing, SOURCE, "k", at(1), "again") == "p" * 8


async def test_events_that_fit_are_parked(stores: Stores) -> None:
    """The caller passes the others again; the totals count each event once."""
    store = stores.open(most=10, most_bytes=10)
    writing = await park_key(store)
    reply = await store.park(writing, SOURCE, "k", [(at(n), "ee") for n in (11, 12, 13)])
    assert len(reply.states) == 2
    with pytest.raises(ParkingFullError):
        await store.park(writing, SOURCE, "k", [(at(13), "ee")])
    assert await positions(store) == [at(10), at(11), at(12)]
    assert (await store.summary(SOURCE)).size == 10


async def test_finished_events_make_room(stores: Stores) -> None:
    """Replays and redrives end the hold of the partition."""
    store = stores.open(most=10, most_events=2, most_bytes=9)
    writing = await defer_key(store, "k", 11)
    await leased(store)
    await store.replace(SOURCE, "k", "t", at(11), "Elonger")
    assert (await store.summary(SOURCE)).size == len("e10longer")
    await store.finish(SOURCE, "k", "t", at(10))
    await store.finish(SOURCE, "k", "t", at(10))
    assert (await store.summary(SOURCE)).events == 1
    await store.finish(SOURCE, "k", "t", at(11))
    claim = await store.claim(SOURCE)
    assert (claim.events, claim.size) == (0, 0)
    await defer(store, WritingAs(claim.owner, ""), "j", 12)
    assert writing.owner != claim.owner


async def test_first_event_brings_the_marks_token(stores: Stores) -> None:
    """The claim returns the token from then on."""
    store = stores.parking
    owner = (await store.claim(SOURCE)).owner
    with pytest.raises(ParkedEventsLostError):
        await defer(store, WritingAs(owner, "m"), "k", 10)
    await defer(store, WritingAs(owner, "m", creates=True), "k", 10)
    await store.park(WritingAs(owner, "m"), SOURCE, "k", [(at(11), "e")])
    claim = await store.claim(SOURCE)
    assert claim.mark == "m"
    assert (await store.summary(SOURCE)).mark == "m"


async def test_missing_token_refuses_every_write(stores: Stores) -> None:
    """Redis has lost the lists, or holds those of another mark."""
    store = stores.parking
    owner = (await defer_key(store)).owner
    for mark in ("", "other"):
        if mark:
            await store.poison(WritingAs(owner, mark, creates=True), SOURCE, "j", at(1), "p")
        for writing in (WritingAs(owner, "m"), WritingAs(owner, "m", creates=bool(mark))):
            with pytest.raises(ParkedEventsLostError, match="rewind --to-mark"):
                await store.poison(writing, SOURCE, "l", at(12), "p")
            with pytest.raises(ParkedEventsLostError):
                await defer(store, writing, "l", 12)
            with pytest.raises(ParkedEventsLostError):
                await store.park(writing, SOURCE, "k", [(at(12), "e")])
    assert await in_list(store, "k", 12) is None
    assert await positions(store, "l") == []


async def test_token_is_dropped_without_a_list_only(stores: Stores) -> None:
    """Another token stays, and a dropped token may be dropped again."""
    store = stores.parking
    assert await store.drop_mark(SOURCE, "m")
    writing = replace(await claimed(store), mark="m", creates=True)
    await defer(store, writing, "k", 10)
    assert not await store.drop_mark(SOURCE, "m")
    await leased(store)
    await store.finish(SOURCE, "k", "t", at(10))
    assert not await store.drop_mark(SOURCE, "other")
    assert (await store.claim(SOURCE)).mark == "m"
    assert await store.drop_mark(SOURCE, "m")
    assert (await store.claim(SOURCE)).mark == ""


async def test_store_without_replicas_confirms(stores: Stores) -> None:
    """No replica is configured, so none must confirm."""
    assert await stores.parking.confirm()
