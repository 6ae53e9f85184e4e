"""Processing's stores and a batch on a Redis that answers, but takes no writes for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from breaker import BreakerSettings, CircuitBreaker, CircuitOpenError, RedisCircuitStore
from breaker.stores.redis import Client, connect
from processing.batch.processor import BatchProcessor
from processing.crashes.loops import CrashLoops
from processing.crashes.redis import RedisCrashStore
from processing.errors import StorageUnavailableError
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.parking.batch import Parking
from processing.parking.redis import RedisParkingStore
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark
from processing.settings import ProcessingSettings
from tests.support.patience import HANG_SECONDS, STORE_SECONDS
from tests.support.processing.events import IDENTITY, SOURCE, batch
from tests.support.processing.processor_rig import in_order, keyed
from tests.support.refusing_redis import Refusing, running_refusing

CODES = ["READONLY", "NOREPLICAS", "MISCONF", "NOPERM"]

RULES = BreakerSettings(
    name="c", failure_threshold=1_000, poll_seconds=0.02, store_grace_seconds=0.2
)
SETTINGS = ProcessingSettings(
    retry_initial_seconds=0.01, retry_max_seconds=0.1, hold_seconds=0.6, poison_ordering="park"
)

type Write = Callable[[Client], Coroutine[Any, Any, object]]


def parking_of(client: Client) -> RedisParkingStore:
    """Return the parked lists in the client's Redis."""
    return RedisParkingStore(client, most=1000, ttl_seconds=600, identity=IDENTITY)


WRITES: dict[str, Write] = {
    "progress": lambda client: RedisProgressStore(client, ttl_seconds=60).commit(
        SOURCE, 1, Mark(7, 1), []
    ),
    "parked lists": lambda client: parking_of(client).claim(SOURCE),
}


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
async def client(refusing: Refusing) -> AsyncIterator[Client]:
    made = connect(refusing.url, BreakerSettings(store_timeout_seconds=STORE_SECONDS))
    yield made
    await made.aclose()


@pytest.mark.parametrize("store", WRITES)
@pytest.mark.parametrize("code", CODES)
async def test_store_says_why(refusing: Refusing, client: Client, code: str, store: str) -> None:
    """The error names Redis's code, and what to do."""
    refusing.refuse(code)
    with pytest.raises(
        StorageUnavailableError, match=f"Redis answers but takes no writes: {code} .*; "
    ):
        await WRITES[store](client)
    refusing.reset()
    await WRITES[store](client)


@asynccontextmanager
async def running(
    client: Client, handle: Callable[[Event], Coroutine[Any, Any, None]]
) -> AsyncIterator[tuple[BatchProcessor, CircuitBreaker]]:
    """Run an instance whose circuit, progress, parked lists and crashes are in one Redis."""
    loaded = LoadedHandler("tests:handler", handle)
    store = RedisCircuitStore(client, RULES.name, timeout_seconds=STORE_SECONDS)
    async with CircuitBreaker(store, RULES) as breaker:
        crashes = CrashLoops(
            RedisCrashStore(client, IDENTITY),
            careful_after=SETTINGS.careful_after,
            hold_seconds=SETTINGS.hold_seconds,
            circuit=lambda: breaker.circuit,
            in_flight=lambda: loaded.in_flight,
            instance="test:1",
            end=lambda each, error: None,
        )
        processor = BatchProcessor(
            loaded,
            breaker=breaker,
            progress=RedisProgressStore(client, ttl_seconds=60),
            poison=MemoryPoisonQueue(),
            parking=Parking(parking_of(client), MemoryClaimChecks()),
            settings=SETTINGS,
            count_poison=RULES.count_poison,
            instance="test:1",
            crashes=crashes,
        )
        yield processor, breaker


@pytest.mark.parametrize(
    "code",
    [
        "READONLY",
        "NOPERM",
        pytest.param("NOREPLICAS", marks=pytest.mark.long),
        pytest.param("MISCONF", marks=pytest.mark.long),
    ],
)
async def test_invocation_ends_and_loses_nothing(
    refusing: Refusing, client: Client, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch holds for its hold time, fails, and is redelivered; the grace time runs out once.

    The circuit's polls read all the time.
    """
    handled: list[int] = []
    failed = False

    async def handle(each: Event) -> None:
        nonlocal failed
        if each.sequence_number == 10 and not failed:
            failed = True
            refusing.refuse(code)
            raise TimeoutError("the circuit must count this attempt")
        handled.append(each.sequence_number)

    events = keyed(*"abcde" * 10)
    async with running(client, handle) as (processor, breaker):
        with pytest.raises((StorageUnavailableError, CircuitOpenError)):
            async with asyncio.timeout(HANG_SECONDS):
                await processor.process(batch(events))
        assert code in breaker.circuit.problem
        texts = [each.message for each in caplog.records if each.levelno >= logging.ERROR]
        assert sum("nothing starts for up to" in text for text in texts) == 1
        refusing.reset(keep=True)
        async with asyncio.timeout(HANG_SECONDS):
            while breaker.circuit.degraded:
                await asyncio.sleep(0.01)
            await processor.process(batch(events))
    assert set(handled) == set(range(50))
    assert in_order(events, list(dict.fromkeys(handled)))
    progress = await RedisProgressStore(client, ttl_seconds=60).load(SOURCE)
    assert progress.watermark is not None
    assert progress.watermark.sequence_number == 49
