"""The app as its triggers use it: checks its settings first, and builds its objects at first use.

`function_app.py` imports this module at each start of an instance. Therefore this module imports no
SDK: `processing.parts`, which imports all of them, is imported at the first use.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from breaker import BreakerSettings, DependencySettings
from breaker.alerts.endpoint import check_endpoint
from breaker.configuration.host_checks import check_host_json, padded_for_host
from breaker.configuration.lookup import value_of
from breaker.configuration.references import unresolved_settings
from breaker.stores.redis_url import check_url
from processing import trigger
from processing.batch import shutdown
from processing.batch.time_budget import TimeBudget
from processing.errors import SettingsError
from processing.event import EventBatch
from processing.handlers.breakpoints import allow_breakpoints, refuse_breakpoints
from processing.handlers.debugging import is_debugging, processing_settings
from processing.handlers.loading import find_handler
from processing.settings import ConnectionSettings

if TYPE_CHECKING:
    from processing.batch.result import BatchResult
    from processing.monitoring.health import HealthReport
    from processing.parts import Parts

logger = logging.getLogger(__name__)


class Application:
    """All objects of one instance of the function app, built at the first use.

    The triggers of an instance share one event loop, and the objects belong to that loop.

    Most apps use `breakwater.blueprint`, which declares the functions. An app that declares its own
    trigger calls this object from it. The trigger must have cardinality many, data type BINARY and
    unlimited retries, as `breakwater/functions.py` has them, or events can be lost.

    Args:
        settings: the app settings, usually `os.environ`.

    Example:
        >>> import os
        >>> from typing import List
        >>> import azure.functions as func
        >>> from breakwater import Application
        >>> from processing.event import EventBatch
        >>> application = Application(os.environ)
        >>> application.check()
        >>> async def process_events(events: List[func.EventHubEvent]) -> None:
        ...     await application.process(EventBatch.from_binding(events))
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        trigger.install()
        self._settings = settings
        self._building = asyncio.Lock()
        self._parts: Parts | None = None

    def check(self) -> None:
        """Check the settings and import the handler, without connecting to anything.

        Raises:
            SettingsError, breaker.SettingsError, HandlerLoadError: as `Parts.build`; a setting may
                also not fit into functionTimeout.
            HostJsonError: with the options of host.json the app would lose or repeat events.
        """
        connections = ConnectionSettings.from_mapping(self._settings)
        processing = processing_settings(self._settings)
        breaking = BreakerSettings.from_mapping(self._settings)
        DependencySettings.from_mapping(self._settings, breaking)
        if not value_of(self._settings, "EVENT_HUB_CONSUMER_GROUP"):
            # The operator's tools have a default group; the trigger needs the setting.
            raise SettingsError(
                "the app setting EVENT_HUB_CONSUMER_GROUP is missing; it takes the name of a "
                "consumer group, such as $Default"
            )
        check_url(connections.redis_url, breaking)
        if endpoint := connections.event_grid_topic_endpoint:
            check_endpoint(endpoint, connections.event_grid_topic_key)
        find_handler(connections.event_handler)
        check_host_json(self._settings)
        TimeBudget.from_mapping(self._settings, processing)
        for name in padded_for_host(self._settings):
            logger.warning(
                "The app setting %s has blanks or quotes around its value; the app ignores them, "
                "but Azure's host does not, and would receive no event: remove them",
                name,
            )
        for name in unresolved_settings(self._settings):
            # The app reads no such setting, but the handler or the host may.
            logger.warning(
                "The app setting %s is a reference to a secret that the platform did not resolve; "
                "its reader gets the text of the reference",
                name,
            )

    async def process(self, batch: EventBatch) -> BatchResult:
        """See `BatchProcessor.process`."""
        parts = self._parts or await self._build()
        return await parts.processor.process(batch)

    async def deliver_alerts(self) -> int:
        """Publish alerts that a dead instance left in Redis, and return their number."""
        parts = self._parts or await self._build()
        try:
            delivered = await parts.breaker.deliver_alerts()
        finally:
            # Also after an error: the alerts of one circuit do not wait for those of another.
            of_dependencies = await parts.dependencies.deliver_alerts()
        return delivered + of_dependencies

    async def replay_deferred(self) -> int:
        """Replay the deferred keys that are due, and return the number of finished events."""
        parts = self._parts or await self._build()
        seconds = parts.processor.parts.budget.timer_seconds
        # An idle instance opens no pool, and reports no failed start.
        return await parts.processor.replayer.run_due(
            seconds, parts.heartbeat, prepare=parts.handler.start
        )

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
            allow_breakpoints()

    async def _build(self) -> Parts:
        async with self._building:
            if self._parts is None:
                # The import takes about a second; in a thread it leaves the event loop responsive.
                parts = await asyncio.to_thread(_load_parts)
                self._parts = await parts.build(self._settings)
                shutdown.stop_on_signals(self._parts.processor)
                if not is_debugging(self._settings):
                    refuse_breakpoints()
            return self._parts


def _load_parts() -> type[Parts]:
    from processing.parts import Parts  # noqa: PLC0415 - imports every SDK

    return Parts
