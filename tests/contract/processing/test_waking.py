"""Contract of every parking store: keys that wait for a dependency become due."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processing.parking.store import ParkingStore
from processing.parking.waking import WOKEN_SECONDS, Seen, Waking
from tests.support.processing.parking_stores import (
    DEFERRAL,
    OTHER,
    SOURCE,
    Stores,
    at,
    claimed,
    defer,
    defer_for,
    leased,
    park_key,
    pause_of,
)

BANK = Waking("bank", 3, closed=False, most=2)
CLOSED = replace(BANK, closed=True)


async def due(store: ParkingStore) -> list[object]:
    return list(await store.due(SOURCE, most=100))


async def postpone(store: ParkingStore, *keys: str) -> None:
    """Postpone keys, as after a failed replay."""
    for key in keys:
        lease = await leased(store, key)
        assert lease.deferral is not None
        await store.postpone(SOURCE, key, "t", lease.deferral, 1000)


async def test_half_open_circuit_wakes_the_keys_with_the_fewest_attempts(stores: Stores) -> None:
    """A key that has failed often would use up the permits that healthy keys need."""
    store = stores.parking
    writing = await claimed(store)
    await defer_for(store, writing, "bank", a=90, b=7, c=100, d=8)
    await defer_for(store, writing, "post", e=1)
    assert await store.wake(SOURCE, BANK) == 2
    assert await due(store) == ["b", "d"]
    assert list((await store.claim(SOURCE)).due) == ["b", "d"]


async def test_half_open_circuit_delays_the_due_keys_with_more_attempts(stores: Stores) -> None:
    """Their pauses may end at the same time, and they would take the permits."""
    store = stores.parking
    writing = await claimed(store)
    await defer_for(store, writing, "bank", a=90, b=7, c=100, d=8)
    await defer_for(store, writing, "post", e=1)
    await store.due(SOURCE, most=1, generation=7)  # the app's circuit has closed
    assert len(await due(store)) == 5
    assert await store.wake(SOURCE, BANK) == 2
    assert await due(store) == ["e", "b", "d"]
    assert await store.wake(SOURCE, CLOSED) == 4
    assert len(await due(store)) == 5


async def test_closed_circuit_wakes_all_of_its_keys(stores: Stores) -> None:
    """Nobody waits for the rest of a pause; keys of another dependency stay."""
    store = stores.parking
    writing = await claimed(store)
    await defer_for(store, writing, "bank", a=90, b=7, c=100)
    await defer_for(store, writing, "post", d=1)
    await defer_for(store, writing, "", e=1)
    await defer_for(store, writing, "bankrupt", f=1)
    await store.wake(SOURCE, BANK)
    assert await store.wake(SOURCE, CLOSED) == 3
    assert sorted(map(str, await due(store))) == ["a", "b", "c"]


async def test_each_state_wakes_the_keys_once(stores: Stores) -> None:
    """All instances ask; a key that has failed again keeps its pause."""
    store = stores.parking
    writing = await claimed(store)
    await defer_for(store, writing, "bank", a=1)
    for waking in (BANK, CLOSED, replace(BANK, generation=4), replace(CLOSED, generation=4)):
        assert await store.wake(SOURCE, waking) == 1
        await postpone(store, "a")
        assert await store.wake(SOURCE, waking) == 0
        assert await due(store) == []


async def test_instance_that_lags_behind_wakes_nothing(stores: Stores) -> None:
    """The circuit has opened again since that instance's last poll."""
    store = stores.parking
    writing = await claimed(store)
    await defer_for(store, writing, "bank", a=1)
    assert await store.wake(SOURCE, replace(BANK, generation=4)) == 1
    await postpone(store, "a")
    for late in (BANK, CLOSED):
        assert await store.wake(SOURCE, late) == 0
    assert await due(store) == []


async def test_dependencies_and_partitions_wake_apart(stores: Stores) -> None:
    """Each has its own generation."""
    store = stores.parking
    writing = await claimed(store)
    await defer_for(store, writing, "bank", a=1)
    await defer_for(store, writing, "post", b=1)
    assert await store.wake(OTHER, replace(CLOSED, generation=9)) == 0
    assert await store.wake(SOURCE, replace(CLOSED, dependency="post", generation=9)) == 1
    assert await store.wake(SOURCE, CLOSED) == 1
    assert await due(store) == ["b", "a"]


async def test_woken_keys_follow_the_keys_that_are_due(stores: Stores) -> None:
    """Ten thousand keys of one dependency must not delay a key that needs another one."""
    store = stores.parking
    writing = await claimed(store)
    await defer_for(store, writing, "bank", a=1)
    await defer(store, writing, "z", 10, pause_seconds=-1)
    assert await store.wake(SOURCE, CLOSED) == 1
    assert await due(store) == ["z", "a"]


async def test_deferred_keys_are_counted_by_dependency(stores: Stores) -> None:
    """Health shows how many keys wait for each dependency."""
    store = stores.parking
    assert await store.needs(SOURCE) == {}
    writing = await park_key(store, "parked")
    await defer_for(store, writing, "bank", a=1, b=2)
    await defer_for(store, writing, "post", c=1)
    await defer_for(store, writing, "", d=1)
    assert await store.needs(SOURCE) == {"bank": 2, "post": 1, "": 1}
    assert await store.needs(OTHER) == {}


async def test_released_and_parked_keys_are_not_woken(stores: Stores) -> None:
    """A parked key waits for an operator, and a released key has no list."""
    store = stores.parking
    writing = await park_key(store, "parked")
    await defer_for(store, writing, "bank", a=1, b=2)
    lease = await leased(store, "a")
    entry = (await store.entries(SOURCE, "a"))[0].position
    assert await store.finish(SOURCE, "a", "t", entry, epoch=lease.epoch) == 0
    assert await store.wake(SOURCE, CLOSED) == 1
    assert await due(store) == ["b"]


@pytest.mark.parametrize("error", ['{"dependency":"bank"}', "bank", 'x "bank" y'])
async def test_error_that_quotes_the_name_does_not_wake_its_key(stores: Stores, error: str) -> None:
    """Only the deferral's own field names the dependency."""
    store = stores.parking
    writing = await claimed(store)
    await defer(store, writing, "k", 10)
    await leased(store)
    await store.postpone(SOURCE, "k", "t", replace(DEFERRAL, error=error), 1000)
    assert await store.wake(SOURCE, CLOSED) == 0
    assert await due(store) == []


async def test_half_open_circuit_wakes_keys_again_after_a_while(stores: Stores) -> None:
    """The keys of the first waking may be too few: some probes fail, and some keys end."""
    store = stores.parking
    writing = await claimed(store)
    await defer_for(store, writing, "bank", a=1, b=2, c=3)
    again = replace(BANK, again_seconds=0)
    assert await store.wake(SOURCE, again) == 2
    await postpone(store, "a", "b")
    assert await store.wake(SOURCE, again) == 2
    await postpone(store, "a", "b")
    assert await store.wake(SOURCE, replace(CLOSED, again_seconds=0)) == 3
    await postpone(store, "a", "b", "c")
    assert await store.wake(SOURCE, replace(CLOSED, again_seconds=0)) == 0


async def test_earlier_state_is_believed_after_a_while(stores: Stores) -> None:
    """No view is that old: the circuit's data was lost, and its generations began again."""
    store = stores.parking
    writing = await claimed(store)
    await defer_for(store, writing, "bank", a=1)
    assert await store.wake(SOURCE, replace(CLOSED, generation=9)) == 1
    await postpone(store, "a")
    assert await store.wake(SOURCE, CLOSED) == 0
    assert await store.wake(SOURCE, replace(CLOSED, lost_seconds=0)) == 1


# The state that a writer had seen before the waking for generation 3, and whether it is late.
SEEN = [
    (False, Seen("bank", (3, 0)), True),
    (True, Seen("bank", (3, 0)), True),
    (True, Seen("bank", (3, 1)), True),
    (True, Seen("bank", (2, 2)), True),
    (False, Seen("bank", (2, 0)), True),
    (False, Seen("bank", (3, 1)), False),  # a half-open circuit wakes its keys again
    (True, Seen("bank", (3, 2)), False),
    (True, Seen("bank", (4, 0)), False),
    (True, Seen("post", (1, 0)), False),
    (True, Seen("ban", (1, 0)), False),
    (True, None, False),
]


@pytest.mark.parametrize(("closed", "seen", "is_late"), SEEN)
async def test_key_that_is_deferred_after_its_waking_does_not_wait_for_another(
    stores: Stores, *, closed: bool, seen: Seen | None, is_late: bool
) -> None:
    """The circuit refused the event before it closed; nothing would wake the key any more."""
    store = stores.parking
    writing = await claimed(store)
    await store.wake(SOURCE, replace(BANK, closed=closed))
    await store.defer(
        writing, SOURCE, "k", (at(1), "e1"), deferral=DEFERRAL, pause_seconds=600, seen=seen
    )
    expected = WOKEN_SECONDS if is_late else 600
    assert await pause_of(store, "k") == pytest.approx(expected, abs=0.01)


async def test_shorter_pause_stays_after_a_late_waking(stores: Stores) -> None:
    store = stores.parking
    writing, seen = await claimed(store), Seen("bank", (1, 0))
    await store.wake(SOURCE, CLOSED)
    await store.defer(
        writing, SOURCE, "k", (at(1), "e1"), deferral=DEFERRAL, pause_seconds=0.5, seen=seen
    )
    assert await pause_of(store, "k") == pytest.approx(0.5, abs=0.01)


async def test_late_writer_is_awaited_in_its_own_partition_only(stores: Stores) -> None:
    """The other partition's keys have not been woken yet."""
    store = stores.parking
    writing, seen = await claimed(store), Seen("bank", (3, 0))
    await store.wake(OTHER, CLOSED)
    await store.defer(
        writing, SOURCE, "k", (at(1), "e1"), deferral=DEFERRAL, pause_seconds=600, seen=seen
    )
    assert await pause_of(store, "k") == pytest.approx(600, abs=0.01)
    assert await store.wake(SOURCE, replace(CLOSED, dependency=DEFERRAL.dependency)) == 1


async def test_repeated_waking_chooses_other_keys(stores: Stores) -> None:
    """A process that died during its probes leaves keys whose leases expire minutes later."""
    store = stores.parking
    writing = await claimed(store)
    await defer_for(store, writing, "bank", a=1, b=2, c=3, d=4, e=5)
    again = replace(BANK, again_seconds=0)
    assert await store.wake(SOURCE, again) == 2
    assert await due(store) == ["a", "b"]
    assert await store.wake(SOURCE, again) == 2
    assert await due(store) == ["a", "b", "c", "d"]
    await postpone(store, "b")
    assert await store.wake(SOURCE, again) == 2
    assert await due(store) == ["a", "c", "d", "b", "e"]
    assert await store.wake(SOURCE, again) == 0
    assert await store.wake(SOURCE, replace(again, generation=4)) == 2


@pytest.mark.parametrize(("closed", "seen", "is_late"), SEEN)
async def test_replay_that_fails_after_a_waking_is_repeated_soon(
    stores: Stores, *, closed: bool, seen: Seen | None, is_late: bool
) -> None:
    """The attempt began before the circuit closed; its failure must not undo the waking."""
    store = stores.parking
    writing = await claimed(store)
    await defer_for(store, writing, "bank", k=1)
    lease = await leased(store)
    assert lease.deferral is not None
    await store.wake(SOURCE, replace(BANK, closed=closed))
    await store.postpone(SOURCE, "k", "t", lease.deferral, 600, seen=seen)
    expected = WOKEN_SECONDS if is_late else 600
    assert await pause_of(store, "k") == pytest.approx(expected, abs=0.01)
