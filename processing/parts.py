"""The composition root: builds the objects of one pipeline from its settings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack

from breaker import CircuitBreaker, DependencyCircuits
from breaker.configuration.lookup import value_of
from breaker.configuration.pipelines import NAME
from processing.batch.processor import BatchProcessor
from processing.batch.time_budget import TimeBudget
from processing.circuit_wiring import instance_name
from processing.crashes.instance import Instance
from processing.deferring.heartbeat import Heartbeat
from processing.deferring.heartbeat_redis import RedisHeartbeat
from processing.handlers.loaded import LoadedHandler
from processing.monitoring.batch_memory import batch_memory_warning, memory_bytes
from processing.monitoring.health import Health, replicas_do_not_confirm
from processing.monitoring.redis_vitals import RedisVitals
from processing.monitoring.stall import Watch, held_by
from processing.monitoring.stall_gauges import create_gauges
from processing.monitoring.telemetry import Telemetry
from processing.monitoring.vitals import Vitals, write_vitals
from processing.monitoring.watching import Watching
from processing.wiring import Wiring

logger = logging.getLogger(__name__)


class Parts:
    """The objects of one pipeline in one instance, and the stack that closes them."""

    def __init__(
        self,
        *,
        breaker: CircuitBreaker,
        dependencies: DependencyCircuits,
        processor: BatchProcessor,
        heartbeat: Heartbeat,
        health: Health,
        closing: AsyncExitStack,
    ) -> None:
        self.breaker = breaker
        self.dependencies = dependencies
        self.processor = processor
        self.heartbeat = heartbeat
        self.health = health
        self.closing = closing

    @property
    def handler(self) -> LoadedHandler:
        """The handler, which is started before the first event."""
        return self.processor.parts.handler

    @classmethod
    async def build(cls, settings: Mapping[str, str], instance: Instance | None = None) -> Parts:
        """Build all objects; after an error no connection stays open.

        Args:
            settings: the settings of one pipeline.
            instance: what all pipelines of the instance share; None: there is one pipeline.

        Raises:
            SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
            HandlerLoadError: EVENT_HANDLER does not name a handler.
        """
        async with AsyncExitStack() as opened:
            wiring = Wiring(settings, opened)
            _, processing, breaking = wiring.read()
            budget = TimeBudget.from_mapping(settings, processing)
            if instance is None:
                instance = Instance([settings])
                opened.push_async_callback(instance.aclose)
            vitals, name = Vitals(), value_of(settings, NAME)
            telemetry = Telemetry(vitals=vitals, pipeline=name)
            handler = wiring.handler(telemetry.handler_late, telemetry.handler_faulty)
            instance.add(handler)
            opened.callback(instance.remove, handler)
            publisher = wiring.publisher(wiring.credential)
            if publisher is None:
                logger.warning(
                    "EVENT_GRID_TOPIC_ENDPOINT is not set; the alerts of circuit %s stay in Redis",
                    breaking.name,
                )
            breaker = await wiring.breaker(publisher, registers=True)
            dependencies = await wiring.dependencies(publisher, registers=True)
            survey = await wiring.survey(breaker, lambda: dependencies.circuits)
            watch = Watch(
                processing.stall_seconds,
                handler_seconds=processing.handler_timeout_seconds,
                held=held_by(breaker),
            )
            watching = Watching(
                watch,
                wiring.fleet(),
                survey,
                instance_name(),
                created=await wiring.hub_created(),
                pipeline=name,
            )
            create_gauges(watching, pipeline=name)
            warnings = []
            warning = batch_memory_warning(settings, memory_bytes(), instance.pipelines)
            if warning is not None:
                warnings.append(warning)
                logger.warning("%s", warning)
            migration, parking = wiring.migration(), await wiring.parking()
            names = await wiring.pipeline_names()

            async def prepare() -> None:
                await migration.ensure()
                await names.check()
                await handler.start()
                if not await parking.store.confirm():
                    warnings.append(replicas_do_not_confirm(processing.parking_replicas))
                    logger.error("%s", warnings[-1])

            crashes = wiring.crash_loops(breaker, handler, instance.careful)
            beating = asyncio.create_task(crashes.beat(), name="processing-heartbeat")
            opened.push_async_callback(_cancel, beating)
            processor = BatchProcessor(
                handler,
                breaker=breaker,
                progress=wiring.progress(),
                poison=await wiring.poison(),
                parking=parking,
                settings=processing,
                count_poison=breaking.count_poison,
                instance=instance_name(),
                telemetry=telemetry,
                watch=watch,
                prepare=prepare,
                crashes=crashes,
                dependencies=dependencies,
                budget=budget,
                ends=await wiring.hub_ends(telemetry.events_expired),
            )
            writer = RedisVitals(wiring.redis, breaker.name, instance_name(), wiring.app)
            writing = asyncio.create_task(
                write_vitals(
                    vitals,
                    writer.write,
                    lambda: processor.holding,
                    problem=lambda: crashes.problem or names.problem or handler.results.problem,
                ),
                name="processing-vitals",
            )
            opened.push_async_callback(_cancel, writing)
            running = asyncio.create_task(watching.run(), name="processing-watching")
            opened.push_async_callback(_cancel, running)
            logger.info(
                "Built %s with handler %s and circuit %s",
                *(f"pipeline {name}" if name else "the app", handler.name, breaker.name),
            )
            return cls(
                breaker=breaker,
                dependencies=dependencies,
                processor=processor,
                heartbeat=RedisHeartbeat(wiring.redis, wiring.connections.identity),
                health=Health(
                    breaker,
                    survey,
                    watch,
                    migration.running,
                    handler.results,
                    dependencies=lambda: dependencies.circuits,
                    crash_loop=lambda: crashes.problem,
                    renamed=lambda: names.problem,
                    warnings=warnings,
                    notice=lambda: instance.watchdog.notice,
                    instance=instance_name(),
                    redrives=wiring.redrive_runs().lines,
                ),
                closing=opened.pop_all(),
            )


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
