"""A deferred key keeps its order through kills and a rebalance, with real hosts and services."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import redis.asyncio

from loadtest.faults.outage import end_outage, set_partial_outage
from loadtest.plan.settings import Scenario, Settings
from loadtest.plan.workload import Workload
from loadtest.send.process import Sending
from loadtest.send.producer import Order
from loadtest.target.clients import async_redis
from loadtest.target.hosts import host_instances, signal_host
from loadtest.target.keys import Keys
from loadtest.target.lists import deferred_keys, waiting_events
from loadtest.target.stack import Stack
from loadtest.verify.collector import connect, read_ledgers

EVENTS, KEYS_COUNT, RATE = 4_000, 4, 100.0
WORKLOAD = Workload(Scenario.STEADY, events=EVENTS, keys=KEYS_COUNT, poison_every=0, seed=0)
DEFERRED = WORKLOAD.key_names[0]
RUN = "deferred-key"
KEYS = Keys(RUN, "breakwater", WORKLOAD.key_names)
PATIENCE = 180.0
SETTLE_SECONDS = 2.0
"""A late duplicate would come within a second."""
SETTINGS = {
    "PROCESSING_DEFER_AFTER_SECONDS": "1",
    # Fewer than ten replays fail, after which an event is poisoned.
    "PROCESSING_DEFER_MAX_SECONDS": "8",
}


class System:
    """The stack, seen from outside."""

    def __init__(self, stack: Stack, client: redis.asyncio.Redis) -> None:
        self.stack = stack
        self.client = client
        self.killed: set[int] = set()

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait until a condition holds."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not await condition():
                    self.stack.check()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{what} did not happen within {PATIENCE:g} s") from None

    async def handled(self, key: str) -> int:
        """Return the number of a key's handled events."""
        length: int = await self.client.llen(KEYS.ledger(f"key:{key}"))
        return length

    async def waiting(self) -> int:
        """Return the number of events in the deferred key's list."""
        return len(await waiting_events(self.client, RUN))

    async def kill_host(self) -> None:
        """Kill one host with SIGKILL, and wait until two hosts run again."""
        host = host_instances(self.stack.state_dir)[0]
        assert signal_host(host, signal.SIGKILL)
        self.killed.add(host.pid)
        await self.until(self._two_hosts, "the restart of the killed host")

    async def _two_hosts(self) -> bool:
        running = {host.pid for host in host_instances(self.stack.state_dir)}
        return len(running - self.killed) >= 2

    def ledgers(self) -> dict[str, list[int]]:
        """Return each key's counters in the order in which they were handled."""
        with connect(self.stack.endpoints) as client:
            return {
                key: [entry.counter for entry in entries]
                for key, entries in read_ledgers(client, KEYS)
            }


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_thousand_events_of_a_deferred_key_stay_in_order(tmp_path: Path) -> None:
    """Events of the key arrive before, while and after it is deferred, and while it returns.

    One host dies while the key is deferred and one while the key returns; in between a third host
    takes partitions over.
    """
    settings = Settings(
        scenario=Scenario.STEADY,
        console=False,
        report=tmp_path / "report.json",
        instances=2,
        partitions=2,
        lease_seconds=3.0,
        app_settings=SETTINGS,
    )
    async with Stack(settings) as stack, async_redis(stack.endpoints) as client:
        system, endpoints = System(stack, client), stack.endpoints
        order = Order(
            connection=endpoints.event_hub_connection,
            event_hub=endpoints.event_hub_name,
            run=RUN,
            events_per_batch=1,
            rate_per_second=RATE,
            workload=WORKLOAD,
            patience_seconds=30.0,
        )

        async def at_least(number: Callable[[], Awaitable[int]], least: int, what: str) -> None:
            async def reached() -> bool:
                return await number() >= least

            await system.until(reached, what)

        async with Sending(order) as sending:
            await at_least(lambda: system.handled(DEFERRED), 100, "the start")
            await set_partial_outage(endpoints, KEYS, [DEFERRED])
            before = await system.handled(DEFERRED)
            await at_least(system.waiting, 50, "the deferral")
            assert await deferred_keys(client) == {DEFERRED}
            await system.kill_host()
            await at_least(system.waiting, 200, "the arrival of events of the deferred key")
            await stack.add_host()
            await at_least(system.waiting, 400, "the arrival of more events")
            assert await system.handled(DEFERRED) == before, "the key is deferred"
            others = [await system.handled(key) for key in WORKLOAD.key_names[1:]]
            assert min(others) > before + 200, "the other keys continue"
            await end_outage(endpoints, KEYS)
            await at_least(lambda: system.handled(DEFERRED), before + 20, "the return of the key")
            await system.kill_host()

            async def complete() -> bool:
                counts = [await system.handled(key) for key in WORKLOAD.key_names]
                return sum(counts) >= EVENTS

            await system.until(complete, "the handling of all events")
            assert sending.progress.over
        assert sending.progress.error is None
        await asyncio.sleep(SETTLE_SECONDS)
        assert len(system.killed) == 2
        assert await deferred_keys(client) == frozenset()
        assert await system.waiting() == 0
        assert system.ledgers() == {
            key: list(range(1, WORKLOAD.count(index) + 1))
            for index, key in enumerate(WORKLOAD.key_names)
        }
