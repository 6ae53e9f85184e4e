"""Contract of the index of the poison queue, in memory and in Redis."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from local.services.ports import free_port
from processing.errors import StorageUnavailableError
from processing.formats.keys import poison_index_keys
from processing.identity import Identity, Source
from processing.poison.index.entry import Cause, IndexEntry
from processing.poison.index.index import Page, PoisonIndex
from processing.poison.index.memory import MemoryPoisonIndex
from processing.poison.index.redis import RedisPoisonIndex
from processing.poison.index.search import search
from processing.poison.message import ClaimCheck
from tests.support.processing.events import IDENTITY
from tests.support.processing.index_entries import entry

OTHER = Identity("ns.example.net", "events", "other")


@dataclass
class Indexes:
    """A factory of indexes over one store, and what a test does to the store."""

    open: Callable[..., PoisonIndex]
    lose: Callable[[], Any]
    wait: Callable[[float], Any]


@pytest.fixture(params=["memory", "redis"])
async def indexes(request: pytest.FixtureRequest) -> AsyncIterator[Indexes]:
    """Yield a factory of indexes of the app `IDENTITY`."""
    if request.param == "memory":
        made: list[MemoryPoisonIndex] = []
        now = 1_000.0

        def in_memory(**options: Any) -> PoisonIndex:
            made.append(MemoryPoisonIndex(IDENTITY, clock=lambda: now, **options))
            return made[-1]

        async def forget() -> None:
            made[-1].lose()

        async def wait(seconds: float) -> None:
            nonlocal now
            now += seconds

        yield Indexes(in_memory, forget, wait)
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as client:

        def in_redis(**options: Any) -> PoisonIndex:
            return RedisPoisonIndex(client, IDENTITY, **options)

        async def pass_time(seconds: float) -> None:
            """Move all stored times into the past."""
            key = poison_index_keys(IDENTITY)[-1]
            for field in ("began", "built", "until", "differs"):
                if (at := await client.hget(key, field)) is not None:
                    await client.hset(key, field, f"{float(at) - seconds:.6f}")

        yield Indexes(in_redis, client.flushall, pass_time)


@pytest.fixture
def index(indexes: Indexes) -> PoisonIndex:
    """Return an index."""
    return indexes.open()


def noise(seed: int, size: int) -> bytes:
    """Return bytes that cannot be compressed."""
    return random.Random(seed).randbytes(size)  # noqa: S311


def names(entries: Sequence[IndexEntry]) -> list[str]:
    return [each.name for each in entries]


async def named(index: PoisonIndex, wanted: Collection[str]) -> dict[str, IndexEntry]:
    """Return the entries that have these names."""
    return {each.name: each for each in (await index.page()).entries if each.name in wanted}


async def all_pages(read: Callable[..., Any], most: int) -> list[list[str]]:
    """Return the names of all pages."""
    pages, after = [], None
    while True:
        page = await read(after=after, most=most)
        pages.append(names(page.entries))
        if page.after is None:
            return pages
        after = page.after


async def test_entries_are_returned_as_they_were_put(index: PoisonIndex) -> None:
    """The receipt, the account and the whole message come back."""
    first = entry(1, body=b"\x00\xff", properties={"a": [1, "ä"]}, system_properties={"b": 2})
    second = replace(entry(2, key=None), where="host")
    check = entry(3).message.with_claim_check(ClaimCheck("c", "b"))
    third = replace(entry(3), message=check)
    assert await index.put([first, second, third]) == 3
    assert await named(index, ["m1", "m2", "m3", "m4"]) == {
        "m1": first,
        "m2": second,
        "m3": third,
    }


async def test_pages_are_in_the_order_of_the_events(index: PoisonIndex) -> None:
    """Events of one millisecond have the order of their numbers; no entry is returned twice."""
    entries = [entry(number, enqueued_ms=1_700_000_000_000 + number // 7) for number in range(250)]
    shuffled = entries[::3] + entries[1::3] + entries[2::3]
    await index.put(shuffled)
    expected = names(entries)
    pages = await all_pages(index.page, 100)
    assert [name for page in pages for name in page] == expected
    assert list(map(len, pages)) == [100, 100, 50]
    assert [len(page) for page in await all_pages(index.page, 125)] == [125, 125]
    assert (await index.page()).after is not None
    assert await all_pages(index.page, 250) == [expected]


async def test_page_goes_on_behind_a_removed_entry(index: PoisonIndex) -> None:
    """A redrive removes what it has read."""
    await index.put(entry(number) for number in range(4))
    page = await index.page(most=2)
    await index.remove(names(page.entries))
    assert names((await index.page(page.after, 2)).entries) == ["m2", "m3"]


async def test_entries_of_a_key_are_in_order(index: PoisonIndex) -> None:
    """No key, an empty key and similar keys are different keys."""
    keys = [None, "", "-", "k", "k/", "k\0", "K", "ключ", "k" * 5000, "\ud800"]
    for position, key in enumerate(keys):
        await index.put(entry(10 * position + number, key) for number in (3, 1, 2))
        await index.put([entry(10 * position, key, partition="10")])
    for position, key in enumerate(keys):
        first = 10 * position
        expected = [f"m{number}" for number in (first + 1, first + 2, first + 3, first)]
        pages = await all_pages(lambda key=key, **page: index.of_key(key, **page), 3)
        assert pages == [expected[:3], expected[3:]], key
    assert (await index.of_key("unknown")).entries == []


async def test_entry_is_found_by_the_end_of_its_id(index: PoisonIndex) -> None:
    """The end begins behind a slash; several partitions may have events with the same end."""
    await index.put([entry(1), entry(11), entry(1, partition="1", name="other")])
    end = entry(1).message.id.rpartition("/")[2]
    assert names(await index.of_id(entry(1).message.id)) == ["m1"]
    assert names(await index.of_id(f"0/1/{end}")) == ["m1"]
    assert names(await index.of_id(f"1/{end}")) == ["m1", "other"]
    for text in ("", "/", f"/{entry(1).message.id}", end[1:], "unknown"):
        assert await index.of_id(text) == [], text


async def test_copies_of_one_event_are_separate_entries(index: PoisonIndex) -> None:
    """The queue may have several messages of one event."""
    await index.put([entry(1), entry(1, name="copy")])
    assert names(await index.of_id(entry(1).message.id)) == ["copy", "m1"]
    await index.remove(["m1"])
    assert names(await index.of_id(entry(1).message.id)) == ["copy"]
    assert names((await index.of_key("k")).entries) == ["copy"]
    assert names((await index.page()).entries) == ["copy"]


async def test_later_put_replaces_an_entry_everywhere(index: PoisonIndex) -> None:
    """A redrive may change a message: its error, or a claim check with a cut key."""
    await index.put([entry(1), entry(2)])
    later = entry(1, "other", partition="7", enqueued_ms=1_800_000_000_000, error="E2")
    assert await index.put([replace(later, receipt="r2")]) == 0
    assert names((await index.page()).entries) == ["m2", "m1"]
    assert names((await index.of_key("k")).entries) == ["m2"]
    assert names((await index.of_key("other")).entries) == ["m1"]
    assert await index.of_id(entry(1).message.id) == []
    assert (await named(index, ["m1"]))["m1"].receipt == "r2"
    assert await index.causes() == {Cause("E1", "app:handle"): 1, Cause("E2", "app:handle"): 1}
    assert (await index.state()).entries == 2


async def test_causes_are_counted(index: PoisonIndex) -> None:
    """The counts follow each put and each removal."""
    assert await index.causes() == {}
    await index.put([entry(1), entry(2), entry(3, error='odd "é\n'), entry(4, handler="a:b")])
    expected = {
        Cause("E1", "app:handle"): 2,
        Cause('odd "é\n', "app:handle"): 1,
        Cause("E1", "a:b"): 1,
    }
    assert await index.causes() == expected
    await index.put([entry(1)])
    assert await index.causes() == expected
    await index.remove(["m2", "m4", "unknown"])
    assert await index.causes() == {
        Cause("E1", "app:handle"): 1,
        Cause('odd "é\n', "app:handle"): 1,
    }


async def test_receipts_of_known_entries_are_replaced(index: PoisonIndex) -> None:
    """The receipt of a removed message must not bring it back."""
    await index.put([entry(1), entry(2)])
    await index.remove(["m2"])
    await index.set_receipts({"m1": "later", "m2": "later"})
    await index.set_receipts({})
    assert await named(index, ["m1", "m2"]) == {"m1": entry(1).with_receipt("later")}
    assert (await index.state()).entries == 1


async def test_entries_of_other_apps_are_ignored(index: PoisonIndex) -> None:
    """Two apps may write to one queue, and each has its own index."""
    message = replace(entry(1).message, source=Source(OTHER, "0"))
    assert await index.put([replace(entry(1), message=message)]) == 0
    assert (await index.state()).entries == 0


async def test_long_message_is_indexed_without_its_texts(index: PoisonIndex) -> None:
    """Everything that lists and selects is kept."""
    body = noise(2, 12_000)
    await index.put([entry(1, body=body, properties={"a": 1}, text="long " * 1_000)])
    found = (await named(index, ["m1"]))["m1"]
    assert not found.is_whole
    assert found.message.body is None
    assert (found.message.id, found.message.key) == (entry(1).message.id, "k")
    assert found.message.error.message.startswith("long long")
    assert len(found.message.error.message) < 1_100
    await index.put([found.with_receipt("r2")])
    assert (await named(index, ["m1"]))["m1"] == found.with_receipt("r2")


async def test_long_texts_are_left_out_above_the_budget(indexes: Indexes) -> None:
    """Removed entries make room again."""
    index = indexes.open(budget_bytes=6_000)
    bodies = [noise(number, 2_000) for number in range(5)]
    await index.put(entry(number, body=bodies[number]) for number in range(4))
    assert [each.is_whole for each in (await index.page()).entries] == [True, True, False, False]
    await index.put([entry(0, body=bodies[0])])
    assert (await named(index, ["m0"]))["m0"].is_whole
    await index.remove(["m0", "m1", "m2", "m3"])
    await index.put([entry(4, body=bodies[4])])
    assert (await named(index, ["m4"]))["m4"].message.body is not None


async def test_search_finds_a_text_in_pages(index: PoisonIndex) -> None:
    """Upper and lower case are equal; id, key, handler and error are searched."""
    await index.put(entry(number, key=f"Key-{number % 3}") for number in range(30))
    await index.put([entry(30, "x", text="Straße 7"), entry(31, "x", error="app.Odd", handler="h")])

    async def found(
        text: str, most: int = 5, searched: int = 2_000, **only: Any
    ) -> list[list[str]]:
        async def read(after: str | None, most: int) -> Page:
            return await search(index, text, after=after, most=most, searched=searched, **only)

        return [page for page in await all_pages(read, most) if page]

    thirds = [f"m{number}" for number in range(1, 30, 3)]
    assert await found("kEY-1") == [thirds[:5], thirds[5:]]
    assert await found("STRASSE") == [["m30"]]
    assert await found(entry(7).message.id) == [["m7"]]
    assert await found("odd") == [["m31"]]
    assert await found("nothing") == []
    assert await found("", cause=Cause("app.Odd", "h")) == [["m31"]]
    assert await found("events", key="Key-1") == [thirds[:5], thirds[5:]]
    assert await found("", most=16) == [
        [f"m{number}" for number in numbers] for numbers in (range(16), range(16, 32))
    ]
    assert await found("odd", searched=10) == [["m31"]]
    page = await search(index, "odd", searched=10)
    assert (page.entries, page.after) == ([], entry(9).place)


async def test_new_index_was_never_compared(index: PoisonIndex) -> None:
    """New messages of the app do not make it complete."""
    assert (await index.state()).built_at is None
    await index.put([entry(1)])
    assert (await index.state()).built_at is None
    assert await index.look(1)


async def test_comparison_removes_what_the_queue_does_not_have(index: PoisonIndex) -> None:
    """Entries that were put since its beginning stay, also those of the app."""
    await index.put(entry(number) for number in range(5))
    token = await index.begin()
    assert token is not None
    assert await index.put([entry(1), entry(3)]) == 2
    assert await index.put([entry(3), entry(7)]) == 1
    assert (await index.state()).comparing == 3
    unseen = await all_pages(lambda **page: index.unseen(token, **page), 10)
    assert unseen == [["m0", "m2", "m4"]]
    some = await all_pages(lambda **page: index.unseen(token, **page), 1)
    assert [name for page in some for name in page] == ["m0", "m2", "m4"]
    removed = await index.end(token, of_others={"b@ns/c": 3, "ä": 1}, unreadable=2, held=4)
    assert removed == 3
    assert names((await index.page()).entries) == ["m1", "m3", "m7"]
    state = await index.state()
    assert state.built_at is not None
    assert state == replace(
        state, entries=3, of_others={"b@ns/c": 3, "ä": 1}, unreadable=2, held=4, comparing=None
    )
    assert state.total == 3 + 4 + 2 + 4


async def test_comparison_knows_what_it_holds(index: PoisonIndex) -> None:
    """A later put of an entry or its receipt ends the hold."""
    await index.put([entry(1)])
    token = await index.begin() or ""
    await index.put((entry(number) for number in (2, 3, 4, 5)), token=token)
    assert names((await index.held(token)).entries) == ["m2", "m3", "m4", "m5"]
    assert await all_pages(lambda **page: index.held("other", **page), 10) == [[]]
    await index.put([entry(3)])
    await index.set_receipts({"m4": "theirs"})
    assert names((await index.held(token)).entries) == ["m2", "m5"]
    await index.set_receipts({f"m{number}": "ours" for number in (1, 2, 3, 4)}, token=token)
    assert names((await index.held(token)).entries) == ["m5"]
    receipts = [each.receipt for each in (await index.page()).entries]
    assert receipts == ["r1", "ours", "r3", "theirs", "r5"]


async def test_removed_message_is_not_counted_as_seen(index: PoisonIndex) -> None:
    """The queue does not have it any more, either."""
    await index.put([entry(1), entry(2)])
    token = await index.begin()
    assert token is not None
    await index.put([entry(2), entry(3)], token=token)
    await index.remove(["m1", "m2"])
    assert (await index.state()).comparing == 1


async def test_kept_entry_stays_as_it_is(index: PoisonIndex) -> None:
    """Between two calls of a comparison, others may remove an entry or replace its receipt."""
    await index.put([entry(1), entry(2), entry(3)])
    token = await index.begin()
    assert token is not None
    await index.remove(["m1"])
    await index.set_receipts({"m2": "later"})
    await index.keep(token, ["m1", "m2", "unknown"])
    await index.keep(token, ["m2"])
    assert (await index.state()).comparing == 1
    await index.keep("other", ["m3"])
    assert await index.end(token, of_others={}) == 1
    assert (await index.page()).entries == [entry(2).with_receipt("later")]


async def test_one_comparison_runs_at_a_time(index: PoisonIndex) -> None:
    """An abandoned one makes room, and its earlier result stays."""
    first = await index.begin()
    assert first is not None
    assert await index.begin() is None
    assert await index.renew(first)
    await index.end(first, of_others={}, held=1)
    assert not await index.renew(first)  # while the messages are put back
    assert (await index.state()).comparing is None
    second = await index.begin()
    assert second not in (None, first)
    assert not await index.renew(first)
    assert await index.end(first, of_others={}) is None
    await index.abandon(first)
    assert (await index.state()).comparing == 0
    await index.abandon(second or "")
    state = await index.state()
    assert (state.comparing, state.held) == (None, 1)
    assert await index.begin() is not None


async def test_lost_index_is_built_again(indexes: Indexes) -> None:
    """A comparison that has begun before the loss does not count."""
    index = indexes.open()
    token = await index.begin()
    assert token is not None
    await index.put([entry(1)])
    await indexes.lose()
    assert not await index.renew(token)
    assert await index.end(token, of_others={}) is None
    assert (await index.state()).built_at is None
    assert await index.look(0)
    assert await index.begin() is not None


async def test_equal_numbers_need_no_comparison(index: PoisonIndex) -> None:
    """Neither does a difference that was just seen: the app writes the queue before the index."""
    token = await index.begin()
    assert not await index.look(0)
    await index.put([entry(1)])
    assert await index.end(token or "", of_others={"b": 1}, unreadable=1) == 0
    assert not await index.look(3)
    assert not await index.look(4)
    assert not await index.look(4)


async def test_lasting_difference_is_compared(indexes: Indexes) -> None:
    """One look finds it, and a later one finds it again; equal numbers end it."""
    index = indexes.open()
    token = await index.begin()
    await index.end(token or "", of_others={})
    assert not await index.look(1)
    await indexes.wait(20)
    assert not await index.look(0)
    assert not await index.look(1)
    await indexes.wait(29)
    assert not await index.look(2)
    await indexes.wait(1)
    assert await index.look(1)


async def test_long_comparison_is_repeated_more_rarely(indexes: Indexes) -> None:
    """Another app may change the queue all the time, and a comparison disturbs all readers."""
    index = indexes.open()
    token = await index.begin()
    await indexes.wait(20)
    await index.end(token or "", of_others={})
    assert not await index.look(1)
    await indexes.wait(99)
    assert not await index.look(1)
    await indexes.wait(2)
    assert await index.look(1)


async def test_silent_comparison_counts_as_abandoned(indexes: Indexes) -> None:
    """Its process may have died; a renewed one continues."""
    index = indexes.open()
    first = await index.begin()
    await indexes.wait(29)
    assert await index.renew(first or "")
    await indexes.wait(29)
    assert await index.begin() is None
    await indexes.wait(2)
    assert (await index.state()).comparing is None
    assert await index.begin() is not None
    assert await index.end(first or "", of_others={}) is None


async def test_held_messages_are_looked_for_again(indexes: Indexes) -> None:
    """They are in the queue's number, so only time shows that they may be free."""
    index = indexes.open()
    token = await index.begin()
    await index.end(token or "", of_others={}, held=2)
    await indexes.wait(119)
    assert not await index.look(2)
    await indexes.wait(1)
    assert await index.look(2)


async def test_unreachable_redis_raises() -> None:
    """The caller decides what this means."""
    async with Redis(port=free_port(), retry=Retry(NoBackoff(), 0)) as client:
        index = RedisPoisonIndex(client, IDENTITY)
        for call in (index.page(), index.put([entry(1)]), index.causes(), index.begin()):
            with pytest.raises(StorageUnavailableError, match="index of the poison queue"):
                await call
