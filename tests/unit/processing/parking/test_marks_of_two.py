"""Marks in two accounts that nobody can change in one step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count

import pytest

from processing.parking.marks import (
    MarkConflictError,
    MarkUnreadableError,
    Oldest,
    ParkingMark,
    StoredMark,
)
from processing.parking.memory_marks import MemoryMarkStore
from processing.parking.two_accounts import MarksOfTwo
from tests.support.processing.events import SOURCE

MARK = ParkingMark(SOURCE, "token", Oldest(40, 1_700_000_000_040, "4000"), 7)


@dataclass
class Accounts:
    """Two stores of marks with one clock, which each write moves."""

    now: float = 1000.0
    app: MemoryMarkStore = field(default_factory=MemoryMarkStore)
    host: MemoryMarkStore = field(default_factory=lambda: MemoryMarkStore(_etags=count(101)))

    def __post_init__(self) -> None:
        self.both = MarksOfTwo(self.app, self.host)
        self.app.clock = self.host.clock = self.tick

    def tick(self) -> float:
        self.now += 1
        return self.now

    async def read(self) -> StoredMark:
        found = await self.both.read(SOURCE)
        assert found is not None
        return found


async def test_write_moves_a_mark_of_the_hosts_account() -> None:
    """The mark is found where the app stored it when it had one account."""
    accounts = Accounts()
    await accounts.host.write(MARK, None)
    found = await accounts.read()
    assert (found.mark.token, found.mark.oldest) == (MARK.token, MARK.oldest)
    stored = await accounts.both.write(replace(MARK, owner=8), found.etag)
    assert accounts.host.contents == {}
    again = await accounts.read()
    assert (again.mark.owner, again.etag) == (8, stored.etag)


async def test_mark_is_deleted_where_it_is() -> None:
    """A rewind or `drop-mark` leaves no mark behind that would be found again."""
    accounts = Accounts()
    await accounts.host.write(MARK, None)
    await accounts.both.delete(SOURCE, (await accounts.read()).etag)
    assert await accounts.both.read(SOURCE) is None
    for store in (accounts.app, accounts.host):
        await store.write(MARK, None)
    await accounts.both.delete(SOURCE, (await accounts.read()).etag)
    assert (accounts.app.contents, accounts.host.contents) == ({}, {})


async def test_two_marks_of_one_token_have_the_lower_bound() -> None:
    """The app was rolled back and parked an earlier event, which a rewind must bring back."""
    accounts = Accounts()
    await accounts.app.write(MARK, None)
    higher, lower = Oldest(50, 1_700_000_000_050, "5"), Oldest(30, 1_700_000_000_030, "3")
    await accounts.host.write(replace(MARK, oldest=higher), None)
    assert (await accounts.read()).mark.oldest == MARK.oldest
    await accounts.host.write(replace(MARK, oldest=lower), "101")
    assert (await accounts.read()).mark.oldest == lower
    await accounts.app.write(MARK, "1")
    assert (await accounts.read()).mark.oldest == lower


async def test_later_mark_of_two_tokens_counts() -> None:
    """Redis was emptied in the meantime, and the earlier mark is out of date."""
    accounts = Accounts()
    await accounts.app.write(MARK, None)
    await accounts.host.write(replace(MARK, token="new", owner=1), None)
    assert ((await accounts.read()).mark.token, (await accounts.read()).mark.owner) == ("new", 1)
    await accounts.app.write(replace(MARK, token="newest"), "1")
    assert (await accounts.read()).mark.token == "newest"


@pytest.mark.parametrize("account", ["app", "host"])
async def test_mark_that_appears_after_the_read_is_a_conflict(account: str) -> None:
    """The writer reads again and decides with the new mark; a delete leaves the new mark."""
    accounts = Accounts()
    store, other = getattr(accounts, account), {"app": accounts.host, "host": accounts.app}[account]
    await other.write(MARK, None)
    found = await accounts.read()
    await store.write(replace(MARK, token="new", owner=9), None)
    with pytest.raises(MarkConflictError):
        await accounts.both.delete(SOURCE, found.etag)
    assert SOURCE in store.contents
    assert (await accounts.read()).mark.token == "new"


async def test_first_write_does_not_overlook_a_new_mark_in_the_hosts_account() -> None:
    """An instance without an account of its own may still run, and has written the mark."""
    accounts = Accounts()
    assert await accounts.both.read(SOURCE) is None
    await accounts.host.write(MARK, None)
    with pytest.raises(MarkConflictError):
        await accounts.both.write(replace(MARK, token="other"), None)
    assert (await accounts.read()).mark.token == "token"


async def test_write_beside_a_changed_mark_of_the_hosts_account_is_a_conflict() -> None:
    """Then both marks are there, and the next read has the lower bound of both."""
    accounts = Accounts()
    await accounts.host.write(MARK, None)
    found = await accounts.read()
    lower = Oldest(30, 1_700_000_000_030, "3")
    await accounts.host.write(replace(MARK, oldest=lower), "101")
    with pytest.raises(MarkConflictError):
        await accounts.both.write(replace(MARK, owner=9), found.etag)
    again = await accounts.read()
    assert (again.mark.owner, again.mark.oldest) == (9, lower)
    await accounts.both.write(again.mark, again.etag)
    assert accounts.host.contents == {}


@pytest.mark.parametrize("account", ["app", "host"])
async def test_unreadable_content_hides_no_other_mark(account: str) -> None:
    """The error has the versions of both, so that `drop-mark` deletes both."""
    accounts = Accounts()
    for store in (accounts.app, accounts.host):
        await store.write(MARK, None)
    getattr(accounts, account).contents[SOURCE] = (b"[]", "e", 1.0)
    with pytest.raises(MarkUnreadableError, match="is not the mark of") as caught:
        await accounts.both.read(SOURCE)
    await accounts.both.delete(SOURCE, caught.value.etag)
    assert (accounts.app.contents, accounts.host.contents) == ({}, {})


async def test_two_names_of_one_account_are_one_mark() -> None:
    """A custom domain cannot be compared with the account's own address."""
    store = MemoryMarkStore()
    both = MarksOfTwo(store, store)
    await both.write(MARK, None)
    found = await both.read(SOURCE)
    assert found is not None
    stored = await both.write(replace(MARK, owner=8), found.etag)
    await both.delete(SOURCE, stored.etag)
    assert store.contents == {}
