"""Transitions of a circuit in a real Redis that has no memory left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from breaker import BreakerSettings, CircuitState, ManualClock, RedisCircuitStore
from breaker.settings import Recovery
from breaker.state import Permit
from tests.support.patience import STORE_SECONDS
from tests.support.refusing_redis import Refusing, running_refusing

SETTINGS = BreakerSettings(
    name="c",
    failure_threshold=1,
    recovery=Recovery.AUTOMATIC,
    break_seconds=10,
    half_open_permits=1,
)
RULES = SETTINGS.rules("here:1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusing]:
    with running_refusing(tmp_path_factory.mktemp("full")) as running:
        yield running


@pytest.fixture
def refusing(server: Refusing) -> Iterator[Refusing]:
    server.reset()
    yield server
    server.reset()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(refusing: Refusing, clock: ManualClock) -> AsyncIterator[RedisCircuitStore]:
    made = RedisCircuitStore(refusing.url, "c", timeout_seconds=STORE_SECONDS, now_us=clock.now_us)
    yield made
    await made.aclose()


async def test_break_ends_on_a_full_redis(
    refusing: Refusing, store: RedisCircuitStore, clock: ManualClock
) -> None:
    """The poll makes the timer's transition, and the probes close the circuit."""
    await store.record_failure(RULES, "a", "boom", Permit(0))
    refusing.refuse("OOM")
    clock.advance(11)
    assert (await store.snapshot(RULES)).circuit.state is CircuitState.HALF_OPEN
    assert (await store.acquire(RULES, "probe")).granted
    done = await store.record_successes(RULES, "probe", 1, Permit(1, "probe"))
    assert done.circuit.state is CircuitState.CLOSED


@pytest.mark.parametrize("before", [CircuitState.CLOSED, CircuitState.OPEN])
async def test_isolation_ends_on_a_full_redis(
    refusing: Refusing, store: RedisCircuitStore, clock: ManualClock, before: CircuitState
) -> None:
    if before is CircuitState.OPEN:
        await store.record_failure(RULES, "a", "boom", Permit(0))
    await store.isolate(RULES, "ann", "night", 5)
    refusing.refuse("OOM")
    clock.advance(6)
    assert (await store.snapshot(RULES)).circuit.state is before


async def test_operator_commands_work_on_a_full_redis(
    refusing: Refusing, store: RedisCircuitStore
) -> None:
    await store.record_failure(RULES, "a", "boom", Permit(0))
    refusing.refuse("OOM")
    assert (await store.snapshot(RULES)).is_full
    approved = await store.approve(RULES, 1, "ann")
    assert (approved.outcome, approved.circuit.state) == ("done", CircuitState.HALF_OPEN)
    assert (await store.isolate(RULES, "ann", "night")).circuit.state is CircuitState.ISOLATED
    assert (await store.close(RULES, 2, "ann", "day")).circuit.state is CircuitState.CLOSED
    assert [entry.event for entry in await store.history(9)][::-1] == [
        "opened",
        "approved",
        "half_opened",
        "isolated",
        "closed",
    ]
