"""Outage of a dependency with two instances on a real Redis; one of them dies as the prober."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from breaker import BreakerSettings, CircuitState, DependencyCircuits
from processing.batch.processor import BatchProcessor
from processing.circuit_wiring import CircuitWiring
from processing.handlers.loading import LoadedHandler
from processing.parking.batch import Parking
from processing.parking.redis import RedisParkingStore
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.progress.redis import RedisProgressStore
from processing.settings import ProcessingSettings
from tests.support.processing.events import SOURCE
from tests.support.processing.partial_outage import Downstream, Partition, running

KEYS = 20
ROUNDS = 30
PERMITS = 4


class Instance:
    """One instance of the app, which owns one partition."""

    def __init__(
        self, wiring: CircuitWiring, dependencies: DependencyCircuits, processor: BatchProcessor
    ) -> None:
        self.dependencies = dependencies
        self.processor = processor
        self.store = RedisParkingStore(
            wiring.redis, most=1000, ttl_seconds=60, identity=SOURCE.identity
        )


async def open_instance(opened: AsyncExitStack, url: str, downstream: Downstream) -> Instance:
    rules = BreakerSettings(name="partial", failure_threshold=5, poll_seconds=0.1)
    settings = {
        "REDIS_URL": url,
        "DEPENDENCY_BANK_RAMP_SECONDS": "0.5",
        "DEPENDENCY_BANK_BREAK_SECONDS": "0.2",
        "DEPENDENCY_BANK_BREAK_SECONDS_MAX": "0.4",
        "DEPENDENCY_BANK_HALF_OPEN_PERMITS": str(PERMITS),
        "DEPENDENCY_BANK_PERMIT_SECONDS": "0.5",
    }
    wiring = CircuitWiring(settings, opened, breaking=rules)
    breaker, dependencies = await wiring.breaker(), await wiring.dependencies()
    store = RedisParkingStore(wiring.redis, most=1000, ttl_seconds=60, identity=SOURCE.identity)
    processor = BatchProcessor(
        LoadedHandler("tests:handle", downstream),
        breaker=breaker,
        progress=RedisProgressStore(wiring.redis, ttl_seconds=60),
        poison=MemoryPoisonQueue(),
        parking=Parking(store, MemoryClaimChecks()),
        settings=ProcessingSettings(
            retry_initial_seconds=0.01, defer_after_seconds=0.1, dependency_pause_seconds=0.05
        ),
        dependencies=dependencies,
    )
    return Instance(wiring, dependencies, processor)


async def until(instance: Instance, *states: CircuitState) -> None:
    """Wait until the bank's circuit has one of the states."""
    bank = await instance.dependencies.use("bank")
    assert bank is not None
    while bank.circuit.state not in states:
        await bank.wait_for_change(bank.circuit, timeout=10)


async def test_dependency_recovers_although_its_prober_dies(redis_url: str) -> None:
    """Keys of another dependency never wait, and each key's events are handled in order."""
    downstream = Downstream()
    async with asyncio.timeout(60), AsyncExitStack() as opened:
        instances = [await open_instance(opened, redis_url, downstream) for _ in range(2)]
        partitions = [
            Partition(each.processor, replace(SOURCE, partition=f"{number}"))
            for number, each in enumerate(instances)
        ]
        fast = {"pause": 0.1, "seconds": 1.0}
        mail = []
        async with running(partitions[0], **fast), running(partitions[1], **fast):
            for number in range(ROUNDS):
                if number == 5:
                    downstream.down = {"bank"}
                for place, partition in enumerate(partitions):
                    key = f"p{place}-{number % KEYS}"
                    partition.send([f"bank+mail:{key}", f"mail:{key}"])
                await asyncio.sleep(0.02)
            await until(instances[0], CircuitState.OPEN)
            while partitions[0].lag or partitions[1].lag:
                await asyncio.sleep(0.02)
            mail = [each for each, _ in downstream.handled if str(each.key).startswith("mail")]
            await until(instances[1], CircuitState.HALF_OPEN)
            bank = instances[1].dependencies.circuits["bank"]
            for _ in range(PERMITS):
                try:
                    await bank.try_acquire()  # and the process ends now
                except Exception:
                    break
            downstream.down = set()
            while await instances[0].store.keys():
                await asyncio.sleep(0.05)
            await until(instances[0], CircuitState.CLOSED)
        app = [each.processor.parts.breaker.circuit for each in instances]
        for each in instances:
            each.processor.stop()
            await each.processor.wait_idle()
    assert len(mail) == 2 * ROUNDS, "all of them, before the bank was up again"
    assert len(downstream.handled) == 4 * ROUNDS
    downstream.check_order()
    assert [(each.state, each.generation) for each in app] == [(CircuitState.CLOSED, 0)] * 2
