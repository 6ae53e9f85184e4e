"""The lease on one key's replay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from processing.errors import LeaseLostError, StorageUnavailableError
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.memory import MemoryParkingStore
from processing.parking.store import WritingAs
from processing.redrive.key_lease import KeyLease
from processing.redrive.lease_returns import LeaseReturns
from tests.support.processing.events import SOURCE
from tests.support.processing.parking_rig import turns

SECONDS = 30.0


class Clock:
    """A clock for the event loop and the store."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def forward(self, seconds: float) -> None:
        """Advance the time, and let the other tasks run."""
        self.now += seconds
        await turns(10)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock)
    return clock


def lease_of(store: MemoryParkingStore) -> KeyLease:
    return KeyLease(store, SOURCE, "k", SECONDS)


async def test_lease_is_renewed_for_as_long_as_it_is_held(clock: Clock) -> None:
    """A handler may take longer than the lease."""
    store = MemoryParkingStore(clock=clock)
    lease = lease_of(store)
    assert await lease.acquire()
    async with lease.held():
        await turns(1)
        for _ in range(10):
            await clock.forward(SECONDS / 2)
            lease.check()
            assert not await lease_of(store).acquire()
    assert await lease_of(store).acquire()


async def test_lease_that_another_redrive_took_fails_the_check(clock: Clock) -> None:
    """The check fails after the next renewal, and does not wait until the lease expires."""
    store = MemoryParkingStore(clock=clock)
    lease = lease_of(store)
    await lease.acquire()
    async with lease.held():
        await turns(1)
        await store.release(SOURCE, "k", lease.token)
        await store.lease(SOURCE, "k", "another", 60_000)
        lease.check()
        await clock.forward(SECONDS / 2)
        with pytest.raises(LeaseLostError):
            lease.check()
    assert not await lease_of(store).acquire()


async def test_lease_counts_from_its_request(clock: Clock) -> None:
    """A late answer must not extend the lease, as the store may have counted from the request."""
    store = MemoryParkingStore(clock=clock)
    lease = lease_of(store)
    ask: Callable[..., object] = store.lease

    async def late(*args: object) -> object:
        answer = await ask(*args)  # type: ignore[misc]
        clock.now += SECONDS + 1
        return answer

    store.lease = late  # type: ignore[method-assign, assignment]
    await lease.acquire()
    with pytest.raises(LeaseLostError):
        lease.check()


async def test_each_acquisition_has_its_own_token(clock: Clock) -> None:
    """An earlier acquisition of the same holder may not write for a later one."""
    store = MemoryParkingStore(clock=clock)
    lease = lease_of(store)
    await lease.acquire()
    first = lease.token
    await store.release(SOURCE, "k", first)
    await lease.acquire()
    with pytest.raises(LeaseLostError):
        await store.finish(SOURCE, "k", first, "1")
    await store.finish(SOURCE, "k", lease.token, "1")


async def test_check_fails_if_the_operation_may_outlast_the_lease(clock: Clock) -> None:
    """Otherwise another holder would start the same event while the operation runs."""
    store = MemoryParkingStore(clock=clock)
    lease = lease_of(store)
    await lease.acquire()
    clock.now += SECONDS / 2
    lease.check(SECONDS / 2 - 1)
    with pytest.raises(LeaseLostError):
        lease.check(SECONDS / 2)


async def test_lease_names_the_deferral_and_the_epoch(clock: Clock) -> None:
    """A replay needs both, and must not ask the store again."""
    store = MemoryParkingStore(clock=clock)
    claim = await store.claim(SOURCE)
    deferral = Deferral(DeferralReason.THROTTLED)
    await store.defer(
        WritingAs(claim.owner, ""), SOURCE, "k", ("1", "{}"), deferral=deferral, pause_seconds=1
    )
    lease = lease_of(store)
    await lease.acquire()
    assert lease.deferral is not None
    assert lease.deferral.reason is DeferralReason.THROTTLED
    assert lease.epoch == store.progress.epoch(SOURCE)


@pytest.mark.parametrize("releases", [True, False])
async def test_lease_whose_answer_was_lost_is_released(clock: Clock, *, releases: bool) -> None:
    """The next try has another token, and must not wait until this lease expires."""
    store = MemoryParkingStore(clock=clock)
    ask: Any = store.lease
    release: Any = store.release

    async def lost(*args: Any) -> Any:
        await ask(*args)
        raise StorageUnavailableError("the answer was lost")

    async def away(*_args: Any) -> None:
        raise StorageUnavailableError("away")

    store.lease = lost  # type: ignore[method-assign, assignment]
    if not releases:
        store.release = away  # type: ignore[method-assign, assignment]
    with pytest.raises(StorageUnavailableError, match="the answer was lost"):
        await lease_of(store).acquire()
    store.lease, store.release = ask, release  # type: ignore[method-assign]
    assert await lease_of(store).acquire() is releases


class AwayStore(MemoryParkingStore):
    """A store that does not answer releases while it is away."""

    away = True

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.asked = 0

    async def release(self, *args: Any) -> None:
        self.asked += 1
        if self.away:
            raise StorageUnavailableError("away")
        await super().release(*args)


async def test_late_return_leaves_the_lease_of_a_later_holder(clock: Clock) -> None:
    """And a write that the earlier holder sent before is refused when it arrives late."""
    store = AwayStore(clock)
    returns = LeaseReturns(store)
    lease = KeyLease(store, SOURCE, "k", SECONDS, returns)
    await lease.acquire()
    async with lease.held():
        pass
    await MemoryParkingStore.release(store, SOURCE, "k", lease.token)
    later = KeyLease(store, SOURCE, "k", SECONDS)
    assert await later.acquire()
    await turns(5)
    asked, store.away = store.asked, False
    await clock.forward(2)
    assert store.asked == asked + 1
    with pytest.raises(LeaseLostError):
        await store.finish(SOURCE, "k", lease.token, "1")
    await store.finish(SOURCE, "k", later.token, "1")


async def test_lease_that_has_expired_is_not_returned(clock: Clock) -> None:
    """The requests to a store that is away end with the lease."""
    store = AwayStore(clock)
    returns = LeaseReturns(store)
    lease = KeyLease(store, SOURCE, "k", SECONDS, returns)
    await lease.acquire()
    async with lease.held():
        pass
    await turns(5)
    await clock.forward(SECONDS / 2)
    asked = store.asked
    assert asked > 2
    await clock.forward(SECONDS)
    assert store.asked == asked
    assert not returns._leases
