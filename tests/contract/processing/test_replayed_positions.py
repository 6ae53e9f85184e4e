"""Contract of every parking store: replayed positions, which recognise redelivered events."""

from __future__ import annotations

from processing.parking.store import ParkState
from processing.progress.store import Mark
from tests.support.processing.parking_stores import (
    FIRST_MS,
    SOURCE,
    Stores,
    at,
    leased,
    park_key,
)


async def test_replayed_events_are_not_parked_again(stores: Stores) -> None:
    """The claim has each key's replayed position until the partition's progress has passed it."""
    store = stores.parking
    writing = await park_key(store, "k", 11, 12)
    await leased(store)
    await store.finish(SOURCE, "k", "t", at(10))
    await store.finish(SOURCE, "k", "t", at(11))
    reply = await store.park(writing, SOURCE, "k", [(at(n), "e") for n in (10, 11, 12, 13)])
    assert reply.states == (
        ParkState.REPLAYED,
        ParkState.REPLAYED,
        ParkState.PARKED,
        ParkState.PARKED,
    )
    known = {"k": f"{at(11)}|{at(10)}"}
    for number, replayed in ((9, known), (10, known), (11, {}), (12, {})):
        await stores.progress.commit(SOURCE, writing.owner, Mark(number, FIRST_MS + number), [])
        claim = await store.claim(SOURCE, ["k", "j"])
        assert claim.replayed == replayed, f"progress has reached event {number}"
        assert claim.progress.watermark == Mark(number, FIRST_MS + number)


async def test_replayed_poisoned_event_is_not_parked_again(stores: Stores) -> None:
    """The next event of the key is parked.

    The answer to the first call may be lost, and a redrive may replay the event before the retry.
    """
    store = stores.parking
    writing = await park_key(store)
    await leased(store)
    await store.finish(SOURCE, "k", "t", at(10))
    assert await store.poison(writing, SOURCE, "k", at(10), "poison") is None
    assert await store.keys() == []
    assert await store.poison(writing, SOURCE, "k", at(11), "next") == "next"


async def test_later_event_with_an_earlier_time_is_parked(stores: Stores) -> None:
    """The hub's clock may go back, so an earlier time does not mark an event as replayed."""
    store = stores.parking
    writing = await park_key(store, "k", 13)
    await leased(store)
    await store.finish(SOURCE, "k", "t", at(10))
    early = at(11, enqueued_ms=1_600_000_000_000)
    reply = await store.park(writing, SOURCE, "k", [(early, "e")])
    assert reply.states == (ParkState.PARKED,)
    assert await store.poison(writing, SOURCE, "k", at(12, 1_600_000_000_000), "p") == "p"


async def test_forget_removes_replayed_positions_behind_a_rewind(stores: Stores) -> None:
    """Events behind the rewind position are processed again."""
    store = stores.parking
    await park_key(store)
    await leased(store)
    await store.finish(SOURCE, "k", "t", at(10))
    await store.forget(SOURCE, at(10))
    assert (await store.claim(SOURCE, ["k"])).replayed == {"k": f"{at(10)}|{at(10)}"}
    await store.forget(SOURCE, at(9))
    assert (await store.claim(SOURCE, ["k"])).replayed == {}


async def test_finish_of_an_older_epoch_notes_no_replayed_position(stores: Stores) -> None:
    """A rewind wants the event to be processed again; the entry itself is removed."""
    store = stores.parking
    await park_key(store, "k", 11)
    before = await leased(store)
    await stores.progress.reset(SOURCE)
    assert await store.finish(SOURCE, "k", "t", at(10), epoch=before.epoch) == 1
    assert (await store.claim(SOURCE, ["k"])).replayed == {}
    after = await leased(store)
    assert after.epoch > before.epoch
    assert await store.finish(SOURCE, "k", "t", at(11), epoch=after.epoch) == 0
    assert (await store.claim(SOURCE, ["k"])).replayed == {}


async def test_finish_after_a_rewind_notes_later_events_only(stores: Stores) -> None:
    """A list may have gaps after a rewind, which the hub fills when it delivers events again."""
    store = stores.parking
    await stores.progress.reset(SOURCE)
    later = at(12, 4_000_000_000_000)  # enqueued in 2096
    writing = await park_key(store, "k", 11)
    await store.park(writing, SOURCE, "k", [(later, "e12")])
    lease = await leased(store)
    for position in (at(10), at(11)):
        await store.finish(SOURCE, "k", "t", position, epoch=lease.epoch)
        assert (await store.claim(SOURCE, ["k"])).replayed == {}
    await store.finish(SOURCE, "k", "t", later, epoch=lease.epoch)
    assert (await store.claim(SOURCE, ["k"])).replayed == {"k": f"{later}|{later}"}


async def test_event_before_the_first_replayed_event_is_not_replayed(stores: Stores) -> None:
    """After a rewind to an earlier position, events of a released key come again.

    The replays began at event 10. What stood before it was handled in a batch, and a rewind wants
    it to be handled again.
    """
    store = stores.parking
    writing = await park_key(store, "k", 12)
    await leased(store)
    await store.finish(SOURCE, "k", "t", at(10))
    reply = await store.park(writing, SOURCE, "k", [(at(n), "e") for n in (9, 10, 11)])
    assert reply.states == (ParkState.PARKED, ParkState.REPLAYED, ParkState.PARKED)
    assert await store.poison(writing, SOURCE, "k", at(8), "p") == "p"
