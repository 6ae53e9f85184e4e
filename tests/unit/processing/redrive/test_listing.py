"""The listing of parked and deferred keys."""

from __future__ import annotations

from processing.parking.deferral import DeferralReason
from processing.parking.event import Lone, position_of
from processing.parking.store import Entry, EntryKind
from processing.redrive.listing import INTERRUPTED, POISON, ListedKey, ListState, listed
from tests.support.processing.events import SOURCE, event
from tests.unit.processing.redrive.lists import BANK_IS_DOWN, Lists


async def listing(site: Lists) -> list[ListedKey]:
    return [each async for each in listed(site.store, await site.store.keys())]


async def test_deferred_key_shows_its_deferral() -> None:
    """The first event's id leads to the log lines about the event."""
    site = Lists()
    await site.defer(
        event(0, "a"), event(1, "a"), pause_seconds=60, reason=DeferralReason.THROTTLED
    )
    (found,) = await listing(site)
    assert (found.key, found.state, found.is_lone) == ("a", ListState.DEFERRED, False)
    assert (found.reason, found.dependency, found.attempts) == ("throttled", "bank", 3)
    assert (found.entries, found.behind, found.error) == (2, 1, BANK_IS_DOWN)
    assert found.event == event(0, "a").id
    assert found.due is not None
    assert 59 < found.due - found.since < 61


async def test_parked_key_shows_its_poisoned_event() -> None:
    """The key waits for an operator."""
    site = Lists()
    await site.park(event(0, "a"), event(1, "a"))
    (found,) = await listing(site)
    assert (found.state, found.due, found.reason) == (ListState.PARKED, None, POISON)
    assert (found.dependency, found.attempts, found.redrives) == ("", 1, 0)
    assert found.error == "PoisonEventError: bad"


async def test_events_without_a_key_show_their_id() -> None:
    """A lone event is its own list; the other events without a key share one list."""
    site = Lists()
    await site.defer(event(0, None), name=Lone(position_of(event(0, None))))
    await site.park(event(1, None))
    lone, parked = sorted(await listing(site), key=lambda each: each.event)
    assert (lone.key, lone.is_lone, lone.event) == (None, True, event(0, None).id)
    assert (parked.key, parked.is_lone, parked.event) == (None, False, event(1, None).id)


async def test_key_without_its_poisoned_event_waits_for_the_rest_of_its_redrive() -> None:
    """An interrupted redrive leaves events that are not poisoned."""
    site = Lists()
    await site.park(event(0, "a"), event(1, "a"))
    redrive = site.redrive()

    async def interrupt(_event: object) -> None:
        redrive.stop()

    site.before = interrupt
    await redrive.run()
    (found,) = await listing(site)
    assert (found.state, found.reason, found.entries) == (ListState.PARKED, INTERRUPTED, 1)


async def test_entry_that_cannot_be_read_is_listed_with_the_reason() -> None:
    """The other keys are listed, too."""
    site = Lists()
    await site.park(event(0, "a"))
    await site.defer(event(1, "b"))
    place = position_of(event(0, "a"))
    site.store._lists[SOURCE, "a"].entries[place] = Entry(place, EntryKind.POISON, "{")
    first, second = await listing(site)
    assert first.error.startswith("ValueError: not a poison message")
    assert second.key == "b"


async def test_key_that_is_released_during_the_listing_has_no_event() -> None:
    """The keys are read before their first events."""
    site = Lists()
    await site.park(event(0, "a"))
    keys = await site.store.keys()
    await site.redrive().run()
    assert [each.event async for each in listed(site.store, keys)] == [""]
