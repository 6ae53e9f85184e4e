"""The processor as deployed, with real Redis for circuit and progress.

Only the poison queue is in memory, because no benchmark measures Azure Storage.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from breaker import BreakerSettings, CircuitBreaker
from processing.batch.processor import BatchProcessor
from processing.circuit_wiring import CircuitWiring
from processing.handlers.loading import Handler, LoadedHandler
from processing.parking.batch import Parking
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.settings import ProcessingSettings

_UNUSED = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "EventHubConnection": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=k",
    "EVENT_HUB_NAME": "benchmark",
}
"""Settings that the wiring requires and a processor without hub and storage never uses."""


@asynccontextmanager
async def circuit_breaker(url: str, settings: BreakerSettings) -> AsyncIterator[CircuitBreaker]:
    """Yield a started breaker on the Redis at `url`, with a watcher and without a publisher."""
    async with AsyncExitStack() as opened:
        yield await CircuitWiring({"REDIS_URL": url}, opened, breaking=settings).breaker(
            registers=True
        )


@asynccontextmanager
async def processor(
    url: str,
    handler: Handler,
    settings: ProcessingSettings | None = None,
    breaking: BreakerSettings | None = None,
) -> AsyncIterator[BatchProcessor]:
    """Yield a processor on the Redis at `url`, with default settings unless given."""
    # Imported here because the wiring loads the Azure SDKs, which `circuit_breaker` does not need.
    from processing.wiring import Wiring  # noqa: PLC0415

    settings = settings or ProcessingSettings()
    async with AsyncExitStack() as opened:
        wiring = Wiring(
            _UNUSED | {"REDIS_URL": url},
            opened,
            breaking=breaking or BreakerSettings(),
            processing=settings,
        )
        loaded = LoadedHandler(
            "benchmark", handler, timeout_seconds=settings.handler_timeout_seconds
        )
        breaker = await wiring.breaker(registers=True)
        yield BatchProcessor(
            loaded,
            breaker=breaker,
            progress=wiring.progress(),
            poison=MemoryPoisonQueue(),
            parking=Parking(wiring.parking_store(), MemoryClaimChecks()),
            settings=settings,
            dependencies=await wiring.dependencies(registers=True),
            crashes=wiring.crash_loops(breaker, loaded),
        )
