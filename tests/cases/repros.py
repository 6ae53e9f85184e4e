"""Run reproductions: `python -m tests.cases.repros [NAME …]`; each prints what is wrong today."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from redis.asyncio import Redis

from benchmarks.services import redis_server
from breaker import BreakerSettings, CircuitBreaker, RedisCircuitStore, StoreUnavailableError
from breaker.stores.redis import connect
from processing.bootstrap import Application
from processing.event import Event
from processing.handlers.retry import Failure, FailureKind
from processing.identity import Identity, Source
from processing.parking.redis import RedisParkingStore
from processing.parking.store import WritingAs
from processing.poison.message import PoisonMessage
from processing.poison.queue import Received
from processing.redrive.held_messages import HeldMessages

IDENTITY = Identity("ns.example.net", "events", "$Default")
SOURCE = Source(IDENTITY, "0")
LIMIT_SECONDS = 8


def _say(name: str, text: str) -> None:
    print(f"{name}: {text}", flush=True)  # noqa: T201 - its purpose


def _event(body: bytes = b"", key: str = "alice", source: Source = SOURCE) -> Event:
    return Event(
        body=body,
        key=key,
        properties={},
        source=source,
        sequence_number=0,
        offset="0",
        enqueued_ms=1,
    )


def _failure(kind: FailureKind, text: str) -> Failure:
    try:
        raise ValueError(text)
    except ValueError as error:
        return Failure(kind, error, 4, 1.0, 2.0)


def _message(event: Event, failure: Failure) -> PoisonMessage:
    return PoisonMessage.from_failure(
        event, failure, handler="h", circuit_generation=0, instance="i"
    )


@asynccontextmanager
async def _redis() -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        async with redis_server(Path(directory)) as url:
            yield url


@asynccontextmanager
async def _breaker(url: str) -> AsyncIterator[CircuitBreaker]:
    settings = BreakerSettings(store_grace_seconds=1)
    client = connect(url, settings)
    try:
        store = RedisCircuitStore(client, settings.name)
        async with CircuitBreaker(store, settings) as breaker:
            yield breaker
    finally:
        await client.aclose()


@asynccontextmanager
async def _parking(url: str) -> AsyncIterator[RedisParkingStore]:
    client = connect(url, BreakerSettings())
    try:
        yield RedisParkingStore(client, most=10, ttl_seconds=60, identity=IDENTITY)
    finally:
        await client.aclose()


async def h21() -> None:
    """Keep the connections to a server that was demoted to a replica."""
    async with _redis() as url, Redis.from_url(url) as admin, _breaker(url) as breaker:
        await breaker.isolate("me", "r")
        await breaker.close_circuit(1, "me")
        await admin.replicaof("127.0.0.1", "1")
        before = (await admin.info("stats"))["total_connections_received"]
        error = ""
        for _ in range(5):
            try:
                await breaker.isolate("me", "r")
            except StoreUnavailableError as refused:
                error = str(refused)
        more = (await admin.info("stats"))["total_connections_received"] - before
        _say("h21", f"new connections after 5 x READONLY: {more} (expected at least 1); {error}")


async def h22() -> None:
    """Record a failure on a server that refuses writes."""
    async with _redis() as url, Redis.from_url(url) as admin, _breaker(url) as breaker:
        permit = await breaker.try_acquire()
        await admin.config_set("min-replicas-to-write", "1")
        try:
            await asyncio.wait_for(breaker.record_failure("a", "x", permit), LIMIT_SECONDS)
            _say("h22", "ended")
        except TimeoutError:
            _say("h22", f"record_failure does not end within {LIMIT_SECONDS} s, grace 1 s")
        finally:
            await admin.config_set("min-replicas-to-write", "0")


async def h24() -> None:
    """Park 200 keys at once at default settings."""
    async with _redis() as url, _parking(url) as store:
        writing = WritingAs((await store.claim(SOURCE)).owner, "")
        parked = (store.poison(writing, SOURCE, f"k{index}", "1:1", "{}") for index in range(200))
        found = await asyncio.gather(*parked, return_exceptions=True)
        errors = [each for each in found if isinstance(each, BaseException)]
        first = str(errors[0])[:80] if errors else ""
        _say("h24", f"lanes refused of 200 at default settings: {len(errors)} {first}")


async def h27() -> None:
    """Look for a parked key under another spelling of hub and group."""
    async with _redis() as url, _parking(url) as store:
        other = Source(Identity("NS.example.net", "Events", "$default"), "0")
        writing = WritingAs((await store.claim(SOURCE)).owner, "")
        await store.poison(writing, SOURCE, "alice", "1:1", "{}")
        parked = set((await store.claim(other, ["alice"])).parked)
        _say("h27", f"parked under the other spelling: {parked or 'nothing'}")


class _SlowQueue:
    """A queue that takes longer to read than messages are held."""

    hold_seconds = 0.05

    def __init__(self) -> None:
        self._until = [0.0] * 10

    async def receive(self) -> list[Received]:
        await asyncio.sleep(0.02)
        now = time.monotonic()
        free = [index for index, until in enumerate(self._until) if until <= now][:2]
        for index in free:
            self._until[index] = now + self.hold_seconds
        message = _message(_event(), _failure(FailureKind.POISON, "x"))
        return [Received(message, str(index), "") for index in free]

    async def put_back(self, received: Received) -> None:
        """Keep the hold until it expires."""


async def h35() -> None:
    """Read a queue whose holds expire while it is read."""
    held = HeldMessages(cast("Any", _SlowQueue()), cast("Any", None), IDENTITY)
    try:
        await asyncio.wait_for(held.collect(lambda _message: False), 3)
        _say("h35", "ended")
    except TimeoutError:
        _say("h35", "reading 10 messages, 2 at a time, held for 50 ms, does not end within 3 s")


async def settings() -> None:
    """Check settings with which the app cannot work."""
    endpoint = "Endpoint=sb://ns.servicebus.windows.net/"
    base = {
        "EVENT_HUB_NAME": "events",
        "EVENT_HUB_CONSUMER_GROUP": "$Default",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "EventHubConnection": f"{endpoint};SharedAccessKeyName=a;SharedAccessKey=b",
        "EVENT_HANDLER": "processing.handlers.ledger:LedgerHandler",
    }
    blob = "BlobEndpoint=https://a.blob.core.windows.net;SharedAccessSignature=sv=x"
    for changes in (
        {"POISON_QUEUE": "Poison_Queue"},
        {"AzureWebJobsStorage": blob},
        {"AzureWebJobsStorage": "@Microsoft.KeyVault(SecretUri=https://v/s)"},
        {"EventHubConnection": endpoint},
        {"REDIS_URL": "redis://h/0?decode_responses=true"},
        {"REDIS_URL": "redis://h/0?encoding=latin-1"},
        {"REDIS_URL": "redis://h/0?max_connections=1"},
        {"REDIS_URL": "redis://h/1", "BREAKER_REDIS_CLUSTER": "true"},
    ):
        try:
            Application(base | changes).check()
            _say("settings", f"check() accepts {changes}")
        except Exception as error:
            _say("settings", f"refused {changes}: {error}")


REPROS: dict[str, Callable[[], Awaitable[None]]] = {
    each.__name__: each for each in (h21, h22, h24, h27, h35, settings)
}


async def main() -> None:
    """Run the reproductions that the command line names, or all."""
    for name in sys.argv[1:] or REPROS:
        await REPROS[name]()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main())
