"""A Redis that fails over behind one address, in the middle of a batch.

Circuit, progress, parked lists and the handler's sink are in the same Redis, as on the local stack.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from breaker import BreakerSettings, CircuitBreaker, RedisCircuitStore
from breaker.stores.redis import connect
from processing.batch.processor import BatchProcessor
from processing.crashes.loops import CrashLoops
from processing.crashes.redis import RedisCrashStore
from processing.event import Event
from processing.handlers.ledger import LedgerHandler
from processing.handlers.loading import LoadedHandler
from processing.identity import Source
from processing.parking.batch import Parking
from processing.parking.redis import RedisParkingStore
from processing.parking.store import EntryKind
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.progress.redis import RedisProgressStore
from processing.settings import ProcessingSettings
from tests.support.patience import HANG_SECONDS
from tests.support.processing.events import IDENTITY, batch, event
from tests.support.redis_pair import Pair, proxied, running_pair

KEYS, EACH = 8, 25
POISON = (3, 15)
"""The key and the counter of the one poison event, after the switch."""
SWITCH_AT = 60
"""The number of the call of the handler in which the switch begins."""
RULES = BreakerSettings(
    store_timeout_seconds=1.0, store_grace_seconds=HANG_SECONDS, failure_threshold=10_000
)
PROCESSING = ProcessingSettings(
    retry_initial_seconds=0.01,
    retry_max_seconds=0.1,
    dependency_pause_seconds=0.05,
    hold_seconds=HANG_SECONDS,
    parking_replicas=1,
    poison_ordering="park",
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_pair(tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@dataclass
class App:
    """An instance of the app, which processes one batch of its own partition."""

    name: str
    processor: BatchProcessor
    progress: RedisProgressStore
    parking: RedisParkingStore
    poison: MemoryPoisonQueue

    @property
    def source(self) -> Source:
        return Source(IDENTITY, self.name)

    async def process(self) -> None:
        """Process a batch of all keys' events, of which one is poison."""
        places = [(counter, key) for counter in range(1, EACH + 1) for key in range(KEYS)]
        events = [
            event(
                number,
                f"key-{key}",
                source=self.source,
                properties={"run": self.name, "counter": counter}
                | ({"simulate": "poison"} if (key, counter) == POISON else {}),
            )
            for number, (counter, key) in enumerate(places)
        ]
        async with asyncio.timeout(HANG_SECONDS):
            await self.processor.process(batch(events, self.source))

    async def assert_complete(self, pair: Pair) -> None:
        """Assert that the primary has each event once: in its key's order, or parked behind one."""
        async with Redis(port=pair.servers[pair.primary].port) as client:
            for key in range(KEYS):
                entries: Any = await client.lrange(f"ledger:{{{self.name}}}:key:key-{key}", 0, -1)
                counters = [int(entry.split()[0]) for entry in entries]
                last = POISON[1] - 1 if key == POISON[0] else EACH
                assert counters == list(range(1, last + 1))
        [message] = self.poison.messages
        assert message.key == f"key-{POISON[0]}"
        parked = await self.parking.entries(self.source, f"key-{POISON[0]}")
        kinds = [entry.kind for entry in parked]
        assert kinds == [EntryKind.POISON, *[EntryKind.EVENT] * (EACH - POISON[1])]
        progress = await self.progress.load(self.source)
        assert progress.watermark is not None
        assert progress.watermark.sequence_number == KEYS * EACH - 1


@asynccontextmanager
async def running(url: str, name: str, switch: Callable[[], None]) -> AsyncIterator[App]:
    """Run an instance at an address, which calls `switch` in the middle of its batch."""
    shared, own = connect(url, RULES), connect(url, RULES)
    ledger = LedgerHandler(own)
    calls = 0

    async def handler(each: Event) -> None:
        nonlocal calls
        calls += 1
        if calls == SWITCH_AT:
            switch()
        await ledger(each)

    loaded = LoadedHandler("tests:handler", handler)
    store = RedisCircuitStore(shared, name, timeout_seconds=RULES.store_timeout_seconds)
    parking = RedisParkingStore(shared, most=1000, ttl_seconds=600, identity=IDENTITY, replicas=1)
    progress = RedisProgressStore(shared, ttl_seconds=600)
    poison = MemoryPoisonQueue()
    async with shared, own, CircuitBreaker(store, RULES) as breaker:
        crashes = CrashLoops(
            RedisCrashStore(shared, IDENTITY),
            careful_after=PROCESSING.careful_after,
            hold_seconds=PROCESSING.hold_seconds,
            circuit=lambda: breaker.circuit,
            in_flight=lambda: loaded.in_flight,
            instance="test:1",
            end=lambda each, error: None,
        )
        processor = BatchProcessor(
            loaded,
            breaker=breaker,
            progress=progress,
            poison=poison,
            parking=Parking(parking, MemoryClaimChecks()),
            settings=PROCESSING,
            count_poison=RULES.count_poison,
            instance="test:1",
            crashes=crashes,
        )
        yield App(name, processor, progress, parking, poison)


async def test_batch_continues_at_the_new_primary(pair: Pair) -> None:
    """The open connections stay at the old primary, which answers reads and refuses writes."""
    async with proxied(pair) as (proxy, url):

        async def fail_over() -> None:
            proxy.switch(await asyncio.to_thread(pair.fail_over))

        switching: list[asyncio.Task[None]] = []

        def switch() -> None:
            switching.append(asyncio.create_task(fail_over()))

        async with running(url, "stay", switch) as app:
            await app.process()
            await switching[0]
            assert proxy.target == pair.primary
            await app.assert_complete(pair)


@pytest.mark.parametrize("what", ["mute", "cut"])
async def test_batch_continues_on_new_connections(pair: Pair, what: str) -> None:
    async with (
        proxied(pair) as (proxy, url),
        running(url, what, getattr(proxy, what)) as app,
    ):
        await app.process()
        await app.assert_complete(pair)
