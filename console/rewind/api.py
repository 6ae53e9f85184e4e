"""Rewinds from the page: one job at a time, its stages shown on all pages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from breaker import CircuitBreaker
from console.access.auth import operator_of
from console.backplane.coordination import Coordination
from console.backplane.stream import Backplane
from console.errors import BackplaneError, CoordinationError, OperationsError
from console.live.incident_log import IncidentLog
from console.poison.lazy_operations import LazyOperations
from console.rewind.job import RewindJob, Target, shown_in, target_in
from console.web.requests import read_object
from console.web.responses import ApiResponse
from processing.errors import ProcessingError, SiteError
from processing.site.restart import Restart, RestartReport, Stage, Stopping
from processing.site.restart_text import has_failed, restart_line
from processing.site.settings import NOT_SET
from processing.site.statement import PRESS_START
from processing.site.watch import SiteWatch

if TYPE_CHECKING:
    from processing.partitions.rewind import Rewind
    from processing.partitions.rewind_plan import LeftOut, RewindPlan, RewindStep
    from processing.site.client import Site

logger = logging.getLogger(__name__)

REWIND = "rewind"
"""Lease of the running job, and the kind of the messages about the job."""
LEASE_SECONDS = 15.0
PROGRESS_SECONDS = 0.5
REASON = "rewind"


class RewindApi:
    """Handlers that plan and start a rewind, and the runner of this instance's job.

    Args:
        operations: open rewinds.
        breaker: the circuit, whose history gets the stop and the start.
        watch: names the function app.
        coordination: holds the lease.
        backplane: carries the stages.
        log: gets a line at the start and at the end of a job.
        last: returns the last message about a rewind, of any instance.
        others: the circuits of the app's other pipelines, which stop and start with it.
    """

    def __init__(
        self,
        operations: LazyOperations,
        breaker: CircuitBreaker,
        watch: SiteWatch,
        *,
        coordination: Coordination,
        backplane: Backplane,
        log: IncidentLog,
        last: Callable[[], dict[str, Any] | None],
        others: Sequence[CircuitBreaker] = (),
    ) -> None:
        self._others = others
        self._operations = operations
        self._breaker = breaker
        self._watch = watch
        self._coordination = coordination
        self._backplane = backplane
        self._log = log
        self._last = last
        self._running: dict[asyncio.Task[None], Restart] = {}

    def routes(self) -> list[Route]:
        """Return the API's routes."""
        return [
            Route("/api/rewind/plan", self.plan, methods=["POST"]),
            Route("/api/rewind", self.rewind, methods=["POST"]),
        ]

    async def plan(self, request: Request) -> ApiResponse:
        """Take {partition, to} and return the plan, without changing anything.

        409: no partition can be rewound; 503: the hub or a store does not answer.
        """
        target = target_in(await read_object(request))
        plans = await self._operations.module("processing.partitions.rewind_plan")
        async with await self._operations.rewind() as rewind:
            try:
                plan = await _planned(rewind, target)
            except plans.RewindRefusedError as error:
                raise HTTPException(409, str(error)) from error
            except ProcessingError as error:
                raise OperationsError(str(error)) from error
        return ApiResponse(plans.plan_document(plan))

    async def rewind(self, request: Request) -> ApiResponse:
        """Take {partition, to, plan, by}, with the partitions of the plan: 202 {job}.

        409: another rewind is running; 503: FUNCTION_APP_URL is not set.
        """
        document = await read_object(request)
        job = RewindJob(operator_of(request, document), target_in(document), shown_in(document))
        if self._watch.site is None:
            raise HTTPException(503, NOT_SET)
        await self._operations.module("processing.operations")
        if not await self._coordination.acquire(REWIND, job.id, LEASE_SECONDS):
            raise HTTPException(409, "another rewind is running; wait until it has ended")
        last = self._last()
        if last is not None and not last["done"] and last["stopped_at"] is not None:
            # Its instance has died. This rewind would leave the app stopped, as it finds the app.
            await self._coordination.release(REWIND, job.id)
            raise HTTPException(
                409,
                f"{last['by']}'s rewind has stopped the app, and its console instance has died; "
                "the console starts the app within a minute, and another rewind can follow then",
            )
        restart = self._new_restart(job, self._watch.site)
        task = asyncio.create_task(self._run(job, restart), name="console-rewind")
        self._running[task] = restart
        task.add_done_callback(self._running.pop)
        return ApiResponse({"job": job.id}, status_code=202)

    async def aclose(self) -> None:
        """End the running job early, and wait until the app is started again."""
        for restart in self._running.values():
            restart.interrupt("this instance of the console shuts down")
        await asyncio.gather(*self._running, return_exceptions=True)

    def _new_restart(self, job: RewindJob, site: Site) -> Restart:
        async def before_stop() -> None:
            # If this instance dies, another one starts the app again: see `LostRewinds`.
            document = job.document(stopped_at=restart.report.stopped_at)
            try:
                await self._backplane.publish([(REWIND, document)])
            except BackplaneError as error:
                raise SiteError(
                    f"the app was not stopped, because the stop could not be recorded: {error}",
                    detail="not on record",
                ) from error

        def show(stage: Stage, seconds: float, most: float) -> None:
            job.stage, job.seconds, job.most = stage.value, seconds, most

        restart = Restart(
            site,
            self._breaker,
            by=job.by,
            reason=REASON,
            owned_seconds=job.owned_seconds,
            before_stop=before_stop,
            show=show,
            others=self._others,
        )
        return restart

    async def _run(self, job: RewindJob, restart: Restart) -> None:
        tasks = [
            asyncio.create_task(self._renew_lease(job, restart)),
            asyncio.create_task(self._show_stages(job, restart.report)),
        ]
        await self._announce(job, f"stops the app, rewinds {job.target.text}", job.document())
        lines = ["Nothing was changed."]
        failed = True
        try:
            async with await self._operations.rewind() as rewind:
                job.rewind = rewind
                lines = await self._restart(job, restart, rewind)
            failed = has_failed(restart.report)
        except Exception as error:
            logger.exception("%r rewinds %s: the job failed", job.by, job.target.text)
            lines = [f"The rewind failed: {type(error).__name__}: {error}"[:500]]
        assert self._watch.site is not None  # noqa: S101 - the handler has checked it
        source = self._watch.site.settings.source
        lines.append(restart_line(restart.report, source=source, how_to_start=PRESS_START))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        result = job.document(
            lines=lines, failed=failed, done=True, stopped_at=restart.report.stopped_at
        )
        await self._announce(job, f"rewind of {job.target.text}: {' '.join(lines)}", result)
        try:
            await self._coordination.release(REWIND, job.id)
        except CoordinationError as error:
            logger.warning("lease %s was not released; it expires: %s", REWIND, error)

    async def _restart(self, job: RewindJob, restart: Restart, rewind: Rewind) -> list[str]:
        """Stop, rewind and start; return the sentences about what was changed."""
        from processing.partitions.rewind import RewindRecord, changes  # noqa: PLC0415 - loaded
        from processing.partitions.rewind_plan import RewindRefusedError  # noqa: PLC0415 - loaded

        record = RewindRecord()
        steps: list[RewindStep] = []
        left_out: list[LeftOut] = []

        async def act(stopping: Stopping) -> None:
            # The app has handled more events since the plan was shown.
            plan = await _planned(rewind, job.target)
            if difference := job.difference(plan):
                raise RewindRefusedError(f"the plan has changed since it was shown: {difference}")
            steps.extend(plan.steps)
            left_out.extend(plan.left_out)
            await rewind.run(plan.steps, record=record, stopping=stopping)

        report = await restart.run(act)
        lines = changes(steps, record)
        lines += [f"Left out: partition {each.partition} ({each.reason})." for each in left_out]
        if report.interrupted:
            lines.append(f"Interrupted: {report.interrupted}.")
        if report.error:
            lines.append(f"Error: {report.error}.")
        return lines

    async def _renew_lease(self, job: RewindJob, restart: Restart) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                held = await self._coordination.acquire(REWIND, job.id, LEASE_SECONDS)
            except CoordinationError as error:
                logger.warning("the rewind's lease was not renewed; retrying: %s", error)
                continue
            if not held:
                restart.interrupt("another rewind has begun")
                return

    async def _show_stages(self, job: RewindJob, report: RestartReport) -> None:
        shown: tuple[str, int] = ("", 0)
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            if shown != (shown := (job.stage, int(job.seconds))):
                document = job.document(stopped_at=report.stopped_at)
                try:
                    await self._backplane.publish([(REWIND, document)])
                except BackplaneError as error:
                    logger.debug("the rewind's stage was not published: %s", error)

    async def _announce(self, job: RewindJob, line: str, message: dict[str, Any]) -> None:
        logger.info("%r %s", job.by, line)
        try:
            await self._backplane.publish([(REWIND, message)])
            await self._log.write("rewind", job.by, line)
        except BackplaneError as error:
            logger.warning("pages and log may lack the line '%s %s': %s", job.by, line, error)


async def _planned(rewind: Rewind, target: Target) -> RewindPlan:
    if target.to == "mark":
        return await rewind.plan_to_marks(target.partitions)
    return await rewind.plan(target.partitions, None if target.to == "start" else target.to)
