"""The processor as it is deployed: real Redis for circuit and progress; only the poison queue is
kept in memory, since none of the benchmarks is about Azure Storage.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from breaker import BreakerSettings, CircuitBreaker, RedisCircuitStore
from breaker.stores.redis import Client, connect
from processing.batch.processor import BatchProcessor
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.poison.memory import MemoryPoisonQueue
from processing.progress.redis import RedisProgressStore
from processing.settings import ProcessingSettings


@asynccontextmanager
async def redis_client(url: str) -> AsyncIterator[Client]:
    """A client as the app makes it."""
    client = connect(url)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def circuit_breaker(
    client: Client, settings: BreakerSettings
) -> AsyncIterator[CircuitBreaker]:
    """A started breaker: with watcher, without publisher."""
    store = RedisCircuitStore(client, settings.name)
    async with CircuitBreaker(store, settings) as breaker:
        yield breaker


@asynccontextmanager
async def processor(
    url: str,
    handler: Callable[[Event], Awaitable[None]],
    settings: ProcessingSettings | None = None,
    breaking: BreakerSettings | None = None,
) -> AsyncIterator[BatchProcessor]:
    """A processor on the Redis at `url`; default settings unless given."""
    settings = settings or ProcessingSettings()
    async with AsyncExitStack() as opened:
        client = await opened.enter_async_context(redis_client(url))
        breaker = await opened.enter_async_context(
            circuit_breaker(client, breaking or BreakerSettings())
        )
        yield BatchProcessor(
            LoadedHandler("benchmark", handler, timeout_seconds=settings.handler_timeout_seconds),
            breaker=breaker,
            progress=RedisProgressStore(client, ttl_seconds=settings.progress_ttl_seconds),
            poison=MemoryPoisonQueue(),
            settings=settings,
        )
