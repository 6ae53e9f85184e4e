"""Contract of the marks by which a store of progress recognises copies of finished events."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processing.progress.store import MOST_MARKS, Mark, ProgressStore, SentMark, SentMarks
from tests.support.processing.parking_stores import OTHER, SOURCE, Stores

WINDOW_MS = 1000


@pytest.fixture
def store(stores: Stores) -> ProgressStore:
    return stores.progress


def sent(**marks: int) -> SentMarks:
    return SentMarks([SentMark(each, ms) for each, ms in marks.items()], WINDOW_MS)


async def test_marks_of_a_commit_are_found_in_their_partition(store: ProgressStore) -> None:
    """Ids without a mark are not in the answer."""
    await store.commit(SOURCE, 0, Mark(1, 10), [], sent(a=10, b=20))
    await store.commit(OTHER, 0, Mark(1, 10), [], sent(c=30))
    assert await store.sent(SOURCE, ["a", "c", "b"]) == {"a": 10, "b": 20}
    assert await store.sent(OTHER, ["a"]) == {}
    assert await store.sent(SOURCE, []) == {}


async def test_commit_without_marks_keeps_the_marks(store: ProgressStore) -> None:
    """Most events of an app may have no id."""
    await store.commit(SOURCE, 0, Mark(1, 10), [], sent(a=10))
    await store.commit(SOURCE, 0, Mark(2, 5000), [])
    assert await store.sent(SOURCE, ["a"]) == {"a": 10}


async def test_marks_leave_the_window(store: ProgressStore) -> None:
    """A mark of exactly the window's age is kept; the hub's time counts, not the store's."""
    await store.commit(SOURCE, 0, None, [], sent(old=0, edge=1))
    await store.commit(SOURCE, 0, None, [], sent(new=1001))
    assert await store.sent(SOURCE, ["old", "edge", "new"]) == {"edge": 1, "new": 1001}


async def test_repeated_commit_changes_nothing(store: ProgressStore) -> None:
    """A caller repeats a write whose answer was lost."""
    for _ in range(2):
        await store.commit(SOURCE, 0, Mark(1, 10), [], sent(a=10, b=20))
    assert await store.sent(SOURCE, ["a", "b"]) == {"a": 10, "b": 20}


async def test_one_commit_takes_the_marks_of_a_large_batch(store: ProgressStore) -> None:
    """5000 marks fit into one commit and one question."""
    marks = {f"id{number}": number for number in range(5000)}
    wide = replace(sent(**marks), window_ms=10_000)
    await store.commit(SOURCE, 0, None, [], wide)
    assert await store.sent(SOURCE, list(marks)) == marks


async def test_number_of_marks_is_bounded(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest marks are deleted, so that a long window cannot fill Redis."""
    assert MOST_MARKS == 100_000
    for module in ("redis", "memory"):
        monkeypatch.setattr(f"processing.progress.{module}.MOST_MARKS", 3)
    store = stores.progress
    await store.commit(SOURCE, 0, None, [], sent(a=1, b=2))
    await store.commit(SOURCE, 0, None, [], sent(c=3, d=4, e=5))
    assert await store.sent(SOURCE, list("abcde")) == {"c": 3, "d": 4, "e": 5}


async def test_reset_deletes_the_marks(store: ProgressStore) -> None:
    """A rewind handles the events again, and a recreated hub may repeat the producer's ids."""
    await store.commit(SOURCE, 0, Mark(1, 10), [], sent(a=10))
    await store.reset(SOURCE)
    assert await store.sent(SOURCE, ["a"]) == {}


async def test_late_commit_from_before_a_reset_writes_no_mark(stores: Stores) -> None:
    """Its events belong to the time before."""
    store = stores.progress
    first = (await stores.parking.claim(SOURCE)).progress.owner
    fresh = (await store.reset(SOURCE)).owner
    assert not await store.commit(SOURCE, first, Mark(1, 10), [], sent(a=10))
    assert await store.sent(SOURCE, ["a"]) == {}
    assert await store.commit(SOURCE, fresh, None, [], sent(b=20))
    assert await store.sent(SOURCE, ["a", "b"]) == {"b": 20}


async def test_late_commit_of_an_earlier_owner_writes_its_marks(stores: Stores) -> None:
    """Its events are finished, too."""
    store = stores.progress
    first = (await stores.parking.claim(SOURCE)).progress.owner
    await stores.parking.claim(SOURCE)
    assert not await store.commit(SOURCE, first, Mark(1, 10), [], sent(a=10))
    assert await store.sent(SOURCE, ["a"]) == {"a": 10}
