"""One pipeline of an app: checks its settings first, and builds its objects at first use.

`function_app.py` imports this module at each start of an instance. Therefore this module imports no
SDK: `processing.parts`, which imports all of them, is imported at the first use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from breaker import BreakerSettings, DependencySettings
from breaker.alerts.endpoint import check_endpoint
from breaker.configuration.lookup import value_of
from breaker.configuration.pipelines import Pipeline, check_has_handler
from breaker.stores.redis_url import check_url
from processing.batch import shutdown
from processing.batch.time_budget import TimeBudget
from processing.errors import HandlerLoadError, SettingsError
from processing.handlers.debugging import processing_settings
from processing.handlers.loading import find_handler
from processing.settings import ConnectionSettings, ProcessingSettings

if TYPE_CHECKING:
    from processing.crashes.instance import Instance
    from processing.monitoring.health import HealthReport
    from processing.parts import Parts


class RunningPipeline:
    """One pipeline in one instance of the app; a failed build concerns no other pipeline.

    Args:
        pipeline: the name and the settings.
        instance: returns what all pipelines of the instance share.
        is_stopping: returns whether the instance is shutting down.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        instance: Callable[[], Awaitable[Instance]],
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = pipeline.name
        self._pipeline = pipeline
        self._instance = instance
        self._is_stopping = is_stopping
        self._building = asyncio.Lock()
        self._parts: Parts | None = None

    @property
    def is_stopping(self) -> bool:
        """Return whether the pipeline was built, and stops."""
        return self._parts is not None and self._parts.processor.parts.gate.stopping

    def check(self) -> ProcessingSettings:
        """Check the settings and import the handler, without connecting to anything.

        Raises:
            SettingsError, breaker.SettingsError, HandlerLoadError, HostJsonError: see
                `Application.check`; the message has the name of a declared pipeline, and the
                names of its own settings.
        """
        with self._pipeline.explaining(HandlerLoadError):
            return _check(self._pipeline.settings)

    async def parts(self) -> Parts:
        """Return the pipeline's objects, built at the first call."""
        return self._parts or await self._build()

    async def deliver_alerts(self) -> int:
        """Publish alerts that a dead instance left in Redis, and return their number."""
        parts = await self.parts()
        try:
            delivered = await parts.breaker.deliver_alerts()
        finally:
            # Also after an error: the alerts of one circuit do not wait for those of another.
            of_dependencies = await parts.dependencies.deliver_alerts()
        return delivered + of_dependencies

    async def replay_deferred(self) -> int:
        """Replay the deferred keys that are due, and return the number of finished events."""
        parts = await self.parts()
        seconds = parts.processor.parts.budget.timer_seconds
        # An idle instance opens no pool, and reports no failed start.
        return await parts.processor.replayer.run_due(
            seconds, parts.heartbeat, prepare=parts.handler.start
        )

    async def health(self) -> HealthReport:
        """Return the circuit's state and each partition's watermark and lag."""
        parts = await self.parts()
        return await parts.health.report()

    def stop(self) -> None:
        """Start no further event."""
        if self._parts is not None:
            self._parts.processor.stop()

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
                # The import takes about a second; in a thread it leaves the event loop responsive.
                parts = await asyncio.to_thread(_load_parts)
                instance = await self._instance()
                with self._pipeline.explaining(HandlerLoadError):
                    self._parts = await parts.build(self._pipeline.settings, instance)
                shutdown.stop_on_signals(self._parts.processor)
                if self._is_stopping():  # the signal came before this pipeline could receive it
                    self._parts.processor.stop()
            return self._parts


def _check(settings: Mapping[str, str]) -> ProcessingSettings:
    connections = ConnectionSettings.from_mapping(settings)
    processing = processing_settings(settings)
    breaking = BreakerSettings.from_mapping(settings)
    DependencySettings.from_mapping(settings, breaking)
    if not value_of(settings, "EVENT_HUB_CONSUMER_GROUP"):
        # The operator's tools have a default group; the trigger needs the setting.
        raise SettingsError(
            "the app setting EVENT_HUB_CONSUMER_GROUP is missing; it takes the name of a "
            "consumer group, such as $Default"
        )
    check_url(connections.redis_url, breaking)
    if endpoint := connections.event_grid_topic_endpoint:
        check_endpoint(endpoint, connections.event_grid_topic_key)
    check_has_handler(settings)
    find_handler(connections.event_handler)
    TimeBudget.from_mapping(settings, processing)
    return processing


def _load_parts() -> type[Parts]:
    from processing.parts import Parts  # noqa: PLC0415 - imports every SDK

    return Parts
