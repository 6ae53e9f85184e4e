"""The listing of parked and deferred keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processing.parking.deferral import DeferralReason
from processing.parking.event import Lone, position_of
from processing.parking.names import ListName, from_cursor
from processing.parking.store import Entry, EntryKind, WritingAs
from processing.redrive.listing import (
    INTERRUPTED,
    PAGE_KEYS,
    POISON,
    KeyListing,
    ListedKey,
    ListedPage,
    ListState,
)
from tests.support.processing.events import SOURCE, event
from tests.unit.processing.redrive.lists import BANK_IS_DOWN, Lists


async def listing(site: Lists) -> list[ListedKey]:
    page = await (await KeyListing.read(site.store)).page()
    assert page.after is None
    return page.keys


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


async def test_key_that_is_released_during_the_listing_is_left_out() -> None:
    """The names of all lists are read before the first page."""
    site = Lists()
    await site.park(event(0, "a"))
    listing = await KeyListing.read(site.store)
    await site.redrive().run()
    assert (await listing.page()).keys == []


async def test_pages_show_each_key_once_and_the_longest_waiting_first() -> None:
    """A page begins where the one before has ended, although keys come and go at the same time."""
    site = Lists()
    partitions = [replace(SOURCE, partition=f"{number}") for number in (2, 0, 1)]
    for number in range(21):
        source = partitions[number % 3]
        writing = WritingAs((await site.store.claim(source)).owner, "")
        key = f"key/{number}" if number % 2 else None
        await site.store.poison(writing, source, key, position_of(event(number, key)), "{}")
    wanted = [each.key for each in (await (await KeyListing.read(site.store)).page()).keys]
    assert len(wanted) == 3 + 10
    shown: list[str | None] = []
    after: str | None = None
    while True:
        listing = await KeyListing.read(site.store)
        page = await listing.page(after, 4)
        assert len(page.keys) <= 4
        shown += [each.key for each in page.keys]
        if (after := page.after) is None:
            break
        await site.store.poison(writing, SOURCE, f"new {after}", position_of(event(99)), "{}")
        assert listing.total >= 13
    assert shown[:13] == wanted
    assert all(key and key.startswith("new") for key in shown[13:])


async def test_list_is_limited_to_a_partition_and_to_a_dependency() -> None:
    """An operator asks what waits for the dependency that is down; the longest comes first."""
    site = Lists()
    for number in range(PAGE_KEYS + 50):
        await site.park(event(number, f"parked-{number}"))
    await site.defer(event(1000, "old"))
    await site.defer(event(1001, "new"))
    listing = await KeyListing.read(site.store, "0")
    assert listing.total == PAGE_KEYS + 52
    first = await listing.page(most=1, dependency="bank")
    assert (first.keys, first.after is None) == ([], False)  # a page reads PAGE_KEYS lists at most
    second = await listing.page(first.after, 1, dependency="bank")
    assert [each.key for each in second.keys] == ["old"]
    third = await listing.page(second.after, 1, dependency="bank")
    assert ([each.key for each in third.keys], third.after) == (["new"], None)
    assert (await listing.page(first.after, dependency="mail")).keys == []
    assert (await KeyListing.read(site.store, "1")).total == 0


async def test_place_that_no_page_has_named_is_refused() -> None:
    listing = await KeyListing.read(Lists().store)
    for text in ("", "0", "x/0/=a", "1/0", "-1/0/=a"):
        with pytest.raises(ValueError, match="is no place in the list of parked keys"):
            await listing.page(text)
    assert await listing.page("1/0/=a") == ListedPage([])


def test_place_is_one_printable_text() -> None:
    """A key may have any text, and an operator copies the place into a shell."""
    name = ListName(7, "0", "=a/b\n' \x1b?")
    assert name.cursor.isprintable()
    assert " " not in name.cursor
    assert from_cursor(name.cursor) == name
