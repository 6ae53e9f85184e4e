"""One instance of the app in a test: the shipped processor, its circuits and the handler."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Self

from breaker import BreakerSettings, CircuitBreaker, DependencyCircuits, DependencySettings
from processing.batch import shutdown
from processing.batch.processor import BatchProcessor
from processing.batch.time_budget import TimeBudget
from processing.deferring.admission import MOST_REPLAYS
from processing.handlers.loading import LoadedHandler, load_handler
from processing.settings import ProcessingSettings
from processing.testing.clock import TestClock
from processing.testing.record import Record
from processing.testing.stores import Stores

INSTANCE = "test:1"
POLL_SECONDS = 2.0
"""Default of BREAKER_POLL_SECONDS in a test, in which no other instance changes a circuit.

Each poll takes real time, and a test may run for hours on the test clock.
"""


class Instance:
    """One instance of the app; a crash ends it, and the next one has the same stores."""

    def __init__(
        self,
        handler: LoadedHandler,
        breaker: CircuitBreaker,
        dependencies: DependencyCircuits,
        processor: BatchProcessor,
        closing: AsyncExitStack,
    ) -> None:
        self.handler = handler
        self.breaker = breaker
        self.dependencies = dependencies
        self.processor = processor
        self._closing = closing

    @classmethod
    async def open(
        cls,
        handler: LoadedHandler,
        settings: Mapping[str, str],
        *,
        stores: Stores,
        clock: TestClock,
    ) -> Self:
        """Open an instance on the stores; it does not close the handler.

        Raises:
            SettingsError, breaker.SettingsError: a setting is unknown or out of bounds, or does not
                fit into functionTimeout.
            HostJsonError: host.json in the current folder cannot be read.
        """
        processing = ProcessingSettings.from_mapping(settings)
        breaking = breaker_settings(settings)
        budget = TimeBudget.from_mapping(settings, processing)
        depending = DependencySettings.from_mapping(settings, breaking)
        async with AsyncExitStack() as opened:
            breaker = await opened.enter_async_context(
                CircuitBreaker(stores.circuit, breaking, clock=clock, instance=INSTANCE)
            )
            dependencies = await opened.enter_async_context(
                DependencyCircuits(stores.dependencies, depending, clock=clock, instance=INSTANCE)
            )
            processor = BatchProcessor(
                handler,
                breaker=breaker,
                progress=stores.progress,
                poison=stores.poison,
                parking=stores.parking,
                settings=processing,
                count_poison=breaking.count_poison,
                instance=INSTANCE,
                dependencies=dependencies,
                budget=budget,
            )
            return cls(handler, breaker, dependencies, processor, opened.pop_all())

    async def aclose(self) -> None:
        """Stop the processor, wait until nothing runs, and close the circuits."""
        self.processor.stop()
        try:
            await shutdown.wait_idle(self.processor)
        finally:
            await self._closing.aclose()


def breaker_settings(settings: Mapping[str, str]) -> BreakerSettings:
    """Return the settings of the app's circuit in a test.

    Raises:
        breaker.SettingsError: a setting is unknown or out of bounds.
    """
    return BreakerSettings.from_mapping({"BREAKER_POLL_SECONDS": str(POLL_SECONDS), **settings})


async def start_handler(
    handler: object, settings: Mapping[str, str], record: Record
) -> LoadedHandler:
    """Load and start a handler as the app does, and record its calls.

    Raises:
        HandlerLoadError: the handler cannot be called with an event, or did not start.
        SettingsError: a setting is unknown or out of bounds.
    """
    processing = ProcessingSettings.from_mapping(settings)
    loaded = load_handler(
        handler,
        settings,
        threads=processing.max_lanes + min(MOST_REPLAYS, processing.max_lanes),
        timeout_seconds=processing.handler_timeout_seconds,
    )
    try:
        await loaded.start()
    except BaseException:
        await loaded.aclose()
        raise
    loaded.handle = record.recorded(loaded.handle)
    # A call with a list is a method, which a test replaces on the object alone.
    recorded_list = record.recorded_list(loaded.handle_list)
    loaded.handle_list = recorded_list  # type: ignore[method-assign, assignment]
    return loaded
