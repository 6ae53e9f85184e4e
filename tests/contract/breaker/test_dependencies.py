"""Both stores of dependencies keep the same registry, and one circuit for each name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from breaker import (
    BreakerSettings,
    CircuitState,
    DependencyCircuits,
    DependencySettings,
    DependencyStore,
    ManualClock,
    MemoryDependencyStore,
    Permit,
    RedisDependencyStore,
)
from breaker.stores.dependencies import UNUSED_SECONDS
from breaker.stores.redis import connect
from tests.support.breaker.unreliable_store import until
from tests.support.patience import STORE_SECONDS

DAY = 86_400.0


@pytest.fixture(params=["memory", "redis"])
async def store(
    request: pytest.FixtureRequest, clock: ManualClock, redis_url: str
) -> AsyncIterator[DependencyStore]:
    if request.param == "memory":
        yield MemoryDependencyStore("app", now_us=clock.now_us)
        return
    client = connect(redis_url, BreakerSettings(store_timeout_seconds=STORE_SECONDS))
    yield RedisDependencyStore(client, "app", timeout_seconds=STORE_SECONDS, now_us=clock.now_us)
    await client.aclose()


def circuits_of(
    store: DependencyStore, clock: ManualClock, instance: str = "one", **settings: str
) -> DependencyCircuits:
    values = {"BREAKER_NAME": "app", "BREAKER_FAILURE_THRESHOLD": "2"} | settings
    return DependencyCircuits(
        store, DependencySettings.from_mapping(values), clock=clock, instance=instance
    )


async def test_first_use_registers_a_name_and_returns_its_state(
    store: DependencyStore, clock: ManualClock
) -> None:
    """Capitals make no difference, and the circuit's name has the app's name before it."""
    async with circuits_of(store, clock) as circuits:
        assert circuits.find("Bank") is None
        bank = await circuits.use("Bank")
        assert bank is not None
        assert (bank.name, bank.circuit.state) == ("app/bank", CircuitState.CLOSED)
        assert circuits.find("bank") is circuits.find("BANK") is await circuits.use("bank") is bank
        assert dict(circuits.circuits) == {"bank": bank}
        assert await store.register((), 20) == {"bank"}


async def test_many_first_uses_at_once_give_one_circuit(
    store: DependencyStore, clock: ManualClock
) -> None:
    async with circuits_of(store, clock) as circuits:
        found = await asyncio.gather(*(circuits.use("bank") for _ in range(50)))
        assert len(set(map(id, found))) == 1


async def test_other_instance_learns_a_name_and_its_opening_by_push(
    store: DependencyStore, clock: ManualClock
) -> None:
    """No poll is due, because the clock stands still; the app's other circuits stay closed."""
    async with circuits_of(store, clock) as one, circuits_of(store, clock, "two") as two:
        await asyncio.sleep(0)
        bank, mail = await one.use("bank"), await one.use("mail")
        assert bank is not None
        assert mail is not None
        await until(lambda: two.circuits.keys() == {"bank", "mail"})
        await bank.record_failure("f1", "down", Permit(0))
        await bank.record_failure("f2", "down", Permit(0))
        seen = two.circuits["bank"]
        await until(lambda: seen.circuit.state is CircuitState.OPEN)
        assert (seen.circuit.generation, seen.circuit.reason) == (1, bank.circuit.reason)
        assert two.circuits["mail"].circuit.generation == 0


async def test_new_instance_knows_an_open_circuit_at_its_start(
    store: DependencyStore, clock: ManualClock
) -> None:
    async with circuits_of(store, clock) as one:
        bank = await one.use("bank")
        assert bank is not None
        await bank.isolate("op")
    async with circuits_of(store, clock) as two:
        assert two.circuits["bank"].circuit.state is CircuitState.ISOLATED


async def test_name_beyond_the_limit_gets_no_circuit_and_is_logged_once(
    store: DependencyStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with circuits_of(store, clock, BREAKER_MAX_DEPENDENCIES="2") as circuits:
        assert await circuits.use("a") is not None
        assert await circuits.use("b") is not None
        for _ in range(3):
            assert await circuits.use("c") is None
        assert await circuits.use("a") is not None
        assert circuits.circuits.keys() == {"a", "b"}
    logged = [record.getMessage() for record in caplog.records if "'c'" in record.getMessage()]
    assert logged == [
        "dependency 'c' gets no circuit of its own, and its failures count for circuit app: "
        "the app has 2 dependencies already (BREAKER_MAX_DEPENDENCIES)"
    ]


async def test_limit_holds_for_two_instances_at_once(
    store: DependencyStore, clock: ManualClock
) -> None:
    """Each instance believes that places are free; the store decides."""
    limit = {"BREAKER_MAX_DEPENDENCIES": "3"}
    one, two = circuits_of(store, clock, **limit), circuits_of(store, clock, "two", **limit)
    uses = [
        each.use(f"{number}{letter}")
        for number in range(3)
        for each, letter in ((one, "a"), (two, "b"))
    ]
    found = await asyncio.gather(*uses)
    assert sum(each is not None for each in found) == 3
    assert len(await store.register((), 3)) == 3
    await one.aclose()
    await two.aclose()


@pytest.mark.parametrize("name", ["", "a/b", "a b", "x" * 33, "bänk", "a:b", "{a}", "\u212a"])
async def test_invalid_name_gets_no_circuit(
    store: DependencyStore, clock: ManualClock, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with circuits_of(store, clock) as circuits:
        assert await circuits.use(name) is None
        assert await circuits.use(name) is None
        assert not circuits.circuits
    assert caplog.text.count("it takes 1 to 32 letters, digits, '-', '_' or '.'") == 1


async def test_unused_name_frees_its_place_after_30_days(
    store: DependencyStore, clock: ManualClock
) -> None:
    """The freed name's circuit is kept: an isolation is still there at the next use."""
    await store.register(("bank",), 1)
    clock.advance(UNUSED_SECONDS - 1)
    assert await store.register(("mail",), 1) == {"bank"}
    async with circuits_of(store, clock, BREAKER_MAX_DEPENDENCIES="1") as circuits:
        bank = circuits.circuits["bank"]
        await bank.isolate("op", "broken")
        clock.advance(2)
        await circuits.start()
        await until(lambda: not circuits.circuits)
        assert await circuits.use("mail") is not None
        assert await circuits.use("bank") is None
    clock.advance(UNUSED_SECONDS + 1)
    async with circuits_of(store, clock) as circuits:
        found = await circuits.use("bank")
        assert found is not None
        assert (found.circuit.state, found.circuit.reason) == (CircuitState.ISOLATED, "broken")


async def test_used_name_keeps_its_place(store: DependencyStore, clock: ManualClock) -> None:
    """A use that finds the circuit is noted, too, at most once an hour."""
    async with circuits_of(store, clock) as circuits:
        await circuits.use("bank")
        for _ in range(6):
            clock.advance(10 * DAY)
            assert circuits.find("bank") is not None
            await circuits.refresh()
        assert await store.register((), 20) == {"bank"}
