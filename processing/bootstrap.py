"""The app as its triggers use it: all its pipelines, and what they share in one process.

`function_app.py` imports this module at each start of an instance. Therefore this module imports no
SDK: `processing.parts`, which imports all of them, is imported at the first use.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from breaker.configuration.host_checks import check_host_json, padded_for_host
from breaker.configuration.pipelines import PipelineError, pipelines_of
from breaker.configuration.references import unresolved_settings
from processing import trigger
from processing.errors import SettingsError
from processing.event import EventBatch
from processing.handlers.breakpoints import allow_breakpoints, refuse_breakpoints
from processing.handlers.debugging import is_debugging
from processing.pipelines.rounds import rounds
from processing.pipelines.running import RunningPipeline

if TYPE_CHECKING:
    from processing.batch.result import BatchResult
    from processing.crashes.instance import Instance
    from processing.monitoring.health import HealthReport
    from processing.monitoring.pipelines_health import PipelinesHealth

logger = logging.getLogger(__name__)

ALERTS_SECONDS = 10.0
"""Pause between two runs of the timer that delivers alerts."""
REPLAYS_SECONDS = 5.0
"""Pause between two runs of the timer that replays deferred keys."""
HEALTH_SECONDS = 10.0
"""Longest time for which the health of all pipelines waits for that of one."""


class Application:
    """All objects of one instance of the function app, built at the first use.

    The triggers of an instance share one event loop, and the objects belong to that loop.

    Most apps use `breakwater.blueprint`, which declares the functions. An app that declares its own
    trigger calls this object from it. The trigger must have cardinality many, data type BINARY and
    unlimited retries, as `breakwater/functions.py` has them, or events can be lost.

    With declared pipelines, each of them builds its own objects. A pipeline whose objects cannot be
    built fails its own batches only. All pipelines share one watchdog and one careful mode, because
    both are about the process.

    Args:
        settings: the app settings, usually `os.environ`.

    Attributes:
        pipelines: the pipelines of the app, in the order of their declaration.

    Raises:
        PipelineError: PIPELINES, or a setting of a pipeline, cannot be used.

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
        self._instance: Instance | None = None
        self.pipelines = pipelines_of(settings)
        self._running = {
            each.name: RunningPipeline(each, self._get_instance, self._is_stopping)
            for each in self.pipelines
        }

    def check(self) -> None:
        """Check the settings and import the handlers, without connecting to anything.

        Raises:
            SettingsError, breaker.SettingsError, HandlerLoadError: as `Parts.build`; a setting may
                also not fit into functionTimeout. With declared pipelines the message names one.
            HostJsonError: with the options of host.json the app would lose or repeat events.
        """
        found = {name: each.check() for name, each in self._running.items()}
        seconds = {name: each.watchdog_seconds for name, each in found.items()}
        if len(set(seconds.values())) > 1:
            each = ", ".join(f"{value:g} for {name}" for name, value in seconds.items())
            raise SettingsError(
                f"PROCESSING_WATCHDOG_SECONDS is {each}, but the watchdog ends the process, in "
                "which all pipelines run; it takes one value for all of them"
            )
        check_host_json(self._settings)
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
        """Handle a batch of the pipeline that the batch's source names; see `BatchProcessor`.

        Raises:
            PipelineError: the app has no such pipeline.
        """
        name = batch.source.identity.pipeline
        pipeline = self._running.get(name)
        if pipeline is None:
            raise PipelineError(
                f"the batch belongs to the pipeline {name}, but the app has "
                f"{', '.join(self._running)}; the trigger passes the pipeline's name to "
                "EventBatch.from_binding"
            )
        parts = await pipeline.parts()
        return await parts.processor.process(batch)

    async def deliver_alerts(self) -> int:
        """Publish alerts that a dead instance left in Redis, and return their number.

        Raises:
            ExceptionGroup: the work of several pipelines failed; an only error is raised alone.
        """
        return await rounds(
            [each.deliver_alerts for each in self._running.values()], ALERTS_SECONDS
        )

    async def replay_deferred(self) -> int:
        """Replay the deferred keys that are due, and return the number of finished events.

        Raises:
            ExceptionGroup: the work of several pipelines failed; an only error is raised alone.
        """
        return await rounds(
            [each.replay_deferred for each in self._running.values()], REPLAYS_SECONDS
        )

    async def health(self) -> HealthReport | PipelinesHealth:
        """Return the circuit's state and each partition's watermark and lag.

        With declared pipelines the report has a report of each pipeline. A pipeline that cannot
        answer, or not in time, has the reason there.
        """
        if not self.pipelines[0].declared:
            (only,) = self._running.values()
            return await only.health()
        from processing.monitoring.pipelines_health import PipelinesHealth  # noqa: PLC0415

        reports = await asyncio.gather(*map(_health, self._running.values()))
        return PipelinesHealth(dict(zip(self._running, reports, strict=True)))

    async def aclose(self) -> None:
        """Stop all pipelines, wait until no invocation runs, and close every connection."""
        for each in self._running.values():
            each.stop()
        closed = await asyncio.gather(
            *(each.aclose() for each in self._running.values()), return_exceptions=True
        )
        if self._instance is not None:
            instance, self._instance = self._instance, None
            await instance.aclose()
            allow_breakpoints()
        for error in closed:
            if error is not None:
                raise error

    def _is_stopping(self) -> bool:
        return any(each.is_stopping for each in self._running.values())

    async def _get_instance(self) -> Instance:
        async with self._building:
            if self._instance is None:
                from processing.crashes.instance import Instance  # noqa: PLC0415 - imports OpenTelemetry

                self._instance = Instance([each.settings for each in self.pipelines])
                if not is_debugging(self._settings):
                    refuse_breakpoints()
            return self._instance


async def _health(pipeline: RunningPipeline) -> HealthReport | str:
    """Return a pipeline's report, or why there is none."""
    asked = asyncio.ensure_future(pipeline.health())
    done, _ = await asyncio.wait({asked}, timeout=HEALTH_SECONDS)
    if not done:
        asked.cancel()
        return f"pipeline {pipeline.name} gave no report within {HEALTH_SECONDS:g} s"
    try:
        return asked.result()
    except Exception as error:
        logger.exception("The health of pipeline %s cannot be read", pipeline.name)
        return f"pipeline {pipeline.name} gives no report: {type(error).__name__}: {error}"
