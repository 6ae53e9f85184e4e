"""A real Redis that is stopped, restarted, emptied and paused under a running breaker."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from breaker import BreakerSettings, CircuitBreaker, CircuitState, RedisCircuitStore
from tests.support.own_redis import Server
from tests.support.patience import HANG_SECONDS, STORE_SECONDS

SETTINGS = BreakerSettings(
    name="c",
    failure_threshold=2,
    poll_seconds=0.05,
    store_timeout_seconds=STORE_SECONDS,
    store_grace_seconds=600,
)
CHANNEL = b"breaker:{c}:changes"
POLLING = 1
"""Index of the watcher's polling task; the other task subscribes."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.stop()


def breaker_at(server: Server, settings: BreakerSettings = SETTINGS) -> CircuitBreaker:
    return CircuitBreaker(RedisCircuitStore.from_settings(server.url, settings), settings)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def open_it(breaker: CircuitBreaker) -> None:
    permit = await breaker.try_acquire()
    for number in range(2):
        await breaker.record_failure(f"{permit.generation}/{number}", "boom", permit)


async def test_redis_restart_is_a_short_hold(server: Server) -> None:
    """Instances hold during the restart; afterwards work starts and pushes arrive again."""
    async with breaker_at(server) as one, breaker_at(server) as two:
        await open_it(one)
        await one.close_circuit(1, "ann")
        server.stop()
        await until(lambda: one.circuit.holding and two.circuit.holding)
        server.start()
        await until(lambda: one.circuit.admits and two.circuit.admits)
        assert one.circuit.generation == 1
        with redis.Redis(port=server.port) as client:
            await until(lambda: dict(client.pubsub_numsub(CHANNEL))[CHANNEL] == 2)
        two._watcher._tasks[POLLING].cancel()
        await open_it(one)
        await until(lambda: two.circuit.state is CircuitState.OPEN)
        assert two.circuit.generation == 2


async def test_failure_during_restart_is_recorded(server: Server) -> None:
    """The failure is retried, and no driver exception reaches the caller."""
    async with breaker_at(server) as breaker:
        permit = await breaker.try_acquire()
        server.stop()
        recording = [
            asyncio.create_task(breaker.record_failure(f"{number}", "boom", permit))
            for number in range(2)
        ]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in recording)
        server.start()
        circuits = await asyncio.gather(*recording)
        assert max(circuit.failures for circuit in circuits) == 2
        assert breaker.circuit.state is CircuitState.OPEN


async def test_opening_is_restored_after_data_loss(server: Server) -> None:
    """An instance that knows the opening restores it in the same generation."""
    async with breaker_at(server) as one, breaker_at(server) as two:
        await open_it(one)
        await until(lambda: two.circuit.state is CircuitState.OPEN)
        server.stop()
        server.start(keep=False)
        await until(lambda: not one.circuit.degraded and not two.circuit.degraded)
        with redis.Redis(port=server.port, decode_responses=True) as client:
            key = "breaker:{c}:circuit"
            async with asyncio.timeout(HANG_SECONDS):
                while client.hmget(key, "state", "generation") != ["open", "1"]:
                    await asyncio.sleep(0.01)
            ((_, noted),) = client.xrange("breaker:{c}:history")
            assert (noted["event"], noted["reason"][:10]) == ("opened", "restored: ")
            alerts = [fields["event"] for _, fields in client.xrange("breaker:{c}:outbox")]
            assert alerts == ["opened"]
        assert (one.circuit.state, two.circuit.state) == (CircuitState.OPEN, CircuitState.OPEN)


async def test_paused_redis_is_an_outage(server: Server) -> None:
    """A stopped Redis process keeps its connections; the timeout starts the hold."""
    async with breaker_at(server, replace(SETTINGS, store_timeout_seconds=0.3)) as breaker:
        server.send(signal.SIGSTOP)
        await until(lambda: breaker.circuit.holding)
        server.send(signal.SIGCONT)
        await until(lambda: breaker.circuit.admits)


async def test_instance_decides_alone_after_grace_time(server: Server) -> None:
    """The local opening is restored to the store after the outage."""
    async with breaker_at(server, replace(SETTINGS, store_grace_seconds=0.3)) as breaker:
        server.stop()
        await until(lambda: breaker.circuit.degraded and breaker.circuit.admits)
        await open_it(breaker)
        assert (breaker.circuit.state, breaker.circuit.degraded) == (CircuitState.OPEN, True)
        server.start()
        await until(lambda: not breaker.circuit.degraded)
        with redis.Redis(port=server.port, decode_responses=True) as client:
            state = client.hmget("breaker:{c}:circuit", "state", "generation")
        assert state == ["open", "1"]
        assert (await breaker.approve(1, "ann")).state is CircuitState.HALF_OPEN


async def test_start_before_redis_is_on_hold(server: Server) -> None:
    """A breaker that starts before Redis holds until Redis answers."""
    server.stop()
    async with breaker_at(server) as breaker:
        assert breaker.circuit.holding
        server.start()
        await until(lambda: breaker.circuit.admits)
