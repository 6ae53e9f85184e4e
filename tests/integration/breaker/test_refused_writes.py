"""A real Redis that answers, but takes no writes: each reason, noticed by a poll and ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    DependencyCircuits,
    DependencySettings,
    ManualClock,
    RedisCircuitStore,
    RedisDependencyStore,
    StoreUnavailableError,
)
from breaker.__main__ import main
from breaker.stores.redis import connect
from tests.support.patience import HANG_SECONDS, STORE_SECONDS
from tests.support.refusing_redis import Refusing, running_refusing

SETTINGS = BreakerSettings(
    name="c",
    failure_threshold=9,
    poll_seconds=0.02,
    store_timeout_seconds=STORE_SECONDS,
    store_grace_seconds=0.3,
)
RULES = SETTINGS.rules("here:1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusing]:
    with running_refusing(tmp_path_factory.mktemp("refusing")) as running:
        yield running


@pytest.fixture
def refusing(server: Refusing) -> Iterator[Refusing]:
    server.reset()
    yield server
    server.reset()


@pytest.fixture
async def breaker(refusing: Refusing) -> AsyncIterator[CircuitBreaker]:
    store = RedisCircuitStore.from_settings(refusing.url, SETTINGS)
    async with CircuitBreaker(store, SETTINGS) as made:
        yield made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("code", ["READONLY", "NOREPLICAS", "MISCONF", "NOPERM"])
async def test_grace_time_runs_out_once(
    refusing: Refusing, breaker: CircuitBreaker, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The poll notices it without a write of ours, and reads do not end the outage."""
    permit = await breaker.try_acquire()
    refusing.refuse(code)
    await until(lambda: breaker.circuit.holding)
    assert breaker.circuit.problem.startswith(f"Redis answers but takes no writes: {code} ")
    failed = await breaker.record_failure("a", "boom", permit)  # ends although Redis stays so
    assert (failed.failures, failed.degraded) == (1, True)
    with pytest.raises(StoreUnavailableError, match=code):
        await breaker.isolate("ann")
    await asyncio.sleep(0.2)
    assert (breaker.circuit.degraded, breaker.circuit.holding) == (True, False)
    texts = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert sum("nothing starts for up to" in text for text in texts) == 1
    assert not any("is usable again" in text for text in texts)
    refusing.reset()
    await until(lambda: not breaker.circuit.degraded)
    async with asyncio.timeout(HANG_SECONDS):
        while (await breaker.refresh()).failures != 1:
            await asyncio.sleep(0.01)
    assert breaker.circuit.problem == ""


async def test_full_redis_is_said_but_holds_nothing(
    refusing: Refusing, breaker: CircuitBreaker
) -> None:
    """Freeing memory must continue; a failure's script frees some first, and then counts."""
    permit = await breaker.try_acquire()
    refusing.refuse("OOM")
    async with asyncio.timeout(HANG_SECONDS):
        while "OOM command not allowed" not in (await breaker.refresh()).problem:
            await asyncio.sleep(0.005)
    assert (breaker.circuit.admits, breaker.circuit.degraded) == (True, False)
    assert (await breaker.record_failure("a", "boom", permit)).failures == 1
    await until(lambda: "OOM" in breaker.circuit.problem)
    assert not breaker.circuit.degraded
    refusing.reset()
    await until(lambda: not breaker.circuit.problem)


@pytest.mark.parametrize("alone", [False, True])
async def test_full_redis_ends_an_outage(
    refusing: Refusing, breaker: CircuitBreaker, alone: bool
) -> None:
    """The state can be read again, and a failure that the instance counted alone is written."""
    permit = await breaker.try_acquire()
    refusing.refuse("READONLY")
    await until(lambda: breaker.circuit.holding)
    if alone:
        assert (await breaker.record_failure("a", "boom", permit)).degraded
    refusing.refuse("OOM")
    refusing.admin.replicaof("no", "one")
    await until(lambda: not breaker.circuit.degraded)
    assert "OOM" in (await breaker.refresh()).problem
    assert (breaker.circuit.admits, breaker.circuit.failures) == (True, alone)
    await asyncio.sleep(2 * SETTINGS.store_grace_seconds)
    assert not breaker.circuit.degraded


async def test_partial_rights_do_not_hold_for_ever(
    refusing: Refusing, breaker: CircuitBreaker
) -> None:
    """An ACL that allows the poll's write and denies others: a failure is recorded alone."""
    permit = await breaker.try_acquire()
    refusing.allow("-hset", "-hget", "-pexpire")
    async with asyncio.timeout(HANG_SECONDS):
        circuit = await breaker.record_failure("a", "boom", permit)
    assert circuit.degraded
    assert "NOPERM" in circuit.problem


async def test_each_outage_has_its_own_grace_time(
    refusing: Refusing, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis takes no writes for a while, twice within the grace time."""
    settings = replace(SETTINGS, poll_seconds=1, store_grace_seconds=30)
    clock = ManualClock()
    store = RedisCircuitStore.from_settings(refusing.url, settings)
    async with CircuitBreaker(store, settings, clock=clock) as breaker:
        for _ in range(2):
            refusing.refuse("NOREPLICAS")
            assert (await breaker.refresh()).holding
            clock.advance(20)
            circuit = await breaker.refresh()
            assert (circuit.holding, circuit.retry_after) == (True, 10)
            refusing.reset()
            assert not (await breaker.refresh()).degraded
    ends = [each.getMessage() for each in caplog.records if "usable again" in each.message]
    assert [text.rpartition(" after ")[2] for text in ends] == ["20.0 s", "20.0 s"]


async def test_command_line_shows_the_state_and_the_problem(
    refusing: Refusing,
    breaker: CircuitBreaker,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An operator sees the stored state although Redis takes no writes."""
    await breaker.isolate("ann", "night")
    refusing.refuse("READONLY")
    for name, value in {"REDIS_URL": refusing.url, "BREAKER_NAME": "c"}.items():
        monkeypatch.setenv(name, value)
    assert await asyncio.to_thread(main, ["status"]) == 0
    shown = capsys.readouterr().out
    assert "isolated (generation 1)" in shown
    assert "problem    Redis answers but takes no writes: READONLY " in shown


@pytest.mark.parametrize("code", ["READONLY", "OOM"])
async def test_dependencies(refusing: Refusing, code: str) -> None:
    """One poll serves all circuits; a new name holds, and is registered afterwards."""
    client = connect(refusing.url, SETTINGS)
    store = RedisDependencyStore(client, "c", timeout_seconds=STORE_SECONDS)
    async with DependencyCircuits(store, DependencySettings(SETTINGS)) as circuits:
        known = await circuits.use("known")
        assert known is not None
        assert known.circuit.admits
        refusing.refuse(code)
        await until(lambda: code in known.circuit.problem)
        assert known.circuit.degraded == (code == "READONLY")
        new = await circuits.use("new")
        assert new is not None
        assert code in new.circuit.problem
        refusing.reset()
        await until(lambda: new.circuit.admits and not new.circuit.degraded)
        async with asyncio.timeout(HANG_SECONDS):
            while set(refusing.admin.zrange("breaker:{c}/names", 0, -1)) != {b"known", b"new"}:
                await asyncio.sleep(0.01)
    await client.aclose()
