"""The composition root: builds the app's objects from its settings, without import-time I/O."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack

from breaker import CircuitBreaker
from breaker.alerts.endpoint import check_endpoint
from breaker.stores.redis_url import check_url
from processing import trigger
from processing.batch import shutdown
from processing.batch.processor import BatchProcessor, BatchResult
from processing.circuit_wiring import instance_name
from processing.errors import SettingsError
from processing.event import EventBatch
from processing.handlers.loading import find_handler
from processing.monitoring.health import Health, HealthReport
from processing.monitoring.redis_vitals import RedisVitals
from processing.monitoring.telemetry import Telemetry
from processing.monitoring.vitals import Vitals, write_vitals
from processing.wiring import Wiring

logger = logging.getLogger(__name__)


class Application:
    """All objects of one instance of the function app, built at the first use.

    The triggers of an instance share one event loop, and the objects belong to that loop.

    Args:
        settings: the app settings, usually `os.environ`.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        trigger.install()
        self._settings = settings
        self._building = asyncio.Lock()
        self._parts: Parts | None = None

    def check(self) -> None:
        """Check the settings and import the handler, without connecting to anything.

        Raises:
            SettingsError, breaker.SettingsError, HandlerLoadError: as `Parts.build`.
        """
        connections, _, _ = Wiring(self._settings, AsyncExitStack()).read()
        if not self._settings.get("EVENT_HUB_CONSUMER_GROUP"):
            # The operator's tools have a default group; the trigger needs the setting.
            raise SettingsError(
                "the app setting EVENT_HUB_CONSUMER_GROUP is missing; it takes the name of a "
                "consumer group, such as $Default"
            )
        check_url(connections.redis_url)
        if endpoint := connections.event_grid_topic_endpoint:
            check_endpoint(endpoint, connections.event_grid_topic_key)
        find_handler(connections.event_handler)

    async def process(self, batch: EventBatch) -> BatchResult:
        """See `BatchProcessor.process`."""
        parts = self._parts or await self._build()
        return await parts.processor.process(batch)

    async def deliver_alerts(self) -> int:
        """Publish alerts that a dead instance left in Redis, and return their number."""
        parts = self._parts or await self._build()
        return await parts.breaker.deliver_alerts()

    async def health(self) -> HealthReport:
        """Return the circuit's state and each partition's watermark and lag."""
        parts = self._parts or await self._build()
        return await parts.health.report()

    async def aclose(self) -> None:
        """Stop the processor, wait until no invocation runs, and close every connection."""
        if self._parts is not None:
            parts, self._parts = self._parts, None
            parts.processor.stop()
            await shutdown.wait_idle(parts.processor)
            await parts.closing.aclose()

    async def _build(self) -> Parts:
        async with self._building:
            if self._parts is None:
                self._parts = await Parts.build(self._settings)
                shutdown.stop_on_sigterm(self._parts.processor)
            return self._parts


class Parts:
    """The objects of one instance, and the stack that closes them."""

    def __init__(
        self,
        *,
        breaker: CircuitBreaker,
        processor: BatchProcessor,
        health: Health,
        closing: AsyncExitStack,
    ) -> None:
        self.breaker = breaker
        self.processor = processor
        self.health = health
        self.closing = closing

    @classmethod
    async def build(cls, settings: Mapping[str, str]) -> Parts:
        """Build all objects; after an error no connection stays open.

        Raises:
            SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
            HandlerLoadError: EVENT_HANDLER does not name a handler.
        """
        async with AsyncExitStack() as opened:
            wiring = Wiring(settings, opened)
            _, processing, breaking = wiring.read()
            vitals = Vitals()
            telemetry = Telemetry(vitals=vitals)
            handler = wiring.handler(telemetry.handler_late)
            publisher = wiring.publisher(wiring.credential)
            if publisher is None:
                logger.warning(
                    "EVENT_GRID_TOPIC_ENDPOINT is not set; the circuit's alerts stay in Redis"
                )
            breaker = await wiring.breaker(publisher)
            lag = await wiring.lag()
            migration = wiring.migration()
            processor = BatchProcessor(
                handler,
                breaker=breaker,
                progress=wiring.progress(),
                poison=await wiring.poison(),
                parking=await wiring.parking(),
                settings=processing,
                count_poison=breaking.count_poison,
                instance=instance_name(),
                telemetry=telemetry,
                prepare=migration.ensure,
            )
            writer = RedisVitals(wiring.redis, breaker.name, instance_name())
            writing = asyncio.create_task(
                write_vitals(vitals, writer.write, lambda: not breaker.circuit.admits),
                name="processing-vitals",
            )
            opened.push_async_callback(_cancel, writing)
            logger.info("Built the app with handler %s and circuit %s", handler.name, breaker.name)
            return cls(
                breaker=breaker,
                processor=processor,
                health=Health(breaker, lag, migration.running),
                closing=opened.pop_all(),
            )


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
