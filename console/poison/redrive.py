"""Redrives and discards from the page: one job at a time, its progress shown on all pages."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from console.access.auth import operator_of
from console.backplane.coordination import Coordination
from console.backplane.stream import Backplane
from console.errors import BackplaneError, CoordinationError, OperationsError
from console.live.incident_log import IncidentLog
from console.poison.catalogue import RECEIVED, Catalogue, Known
from console.poison.jobs import ID_CHARS, Job, selection_in
from console.poison.lazy_operations import LazyOperations, translate_errors
from console.web.requests import read_object, text_in
from console.web.responses import ApiResponse
from processing.errors import OtherAppError, ProcessingError, StorageUnavailableError

if TYPE_CHECKING:
    from processing.redrive.discard import Discard

logger = logging.getLogger(__name__)

REDRIVE = "redrive"
"""Lease of the running job, and the kind of the messages about the job."""
BROWSE = "browse"
"""Lease of a queue for a redrive; consoles of an earlier version also list under this lease."""
LEASE_SECONDS = 15.0
PROGRESS_SECONDS = 0.25
QUEUE_SECONDS = 30.0
CONSOLE = "console"
"""The place of a console's redrives; a `RunPlace`."""


class RedriveApi:
    """Handlers that start jobs, and the runner of this instance's job.

    Args:
        operations: open redrives and the poison queue.
        coordination: holds the leases.
        backplane: carries the progress.
        log: gets a line at the start and at the end of a job.
        catalogue: lists the messages of the poison queue.
        queue: holds the lease `BROWSE`; all consoles over the queue share it.
    """

    def __init__(
        self,
        operations: LazyOperations,
        coordination: Coordination,
        backplane: Backplane,
        log: IncidentLog,
        *,
        catalogue: Catalogue,
        queue: Coordination | None = None,
    ) -> None:
        self._operations = operations
        self._coordination = coordination
        self._backplane = backplane
        self._log = log
        self._catalogue = catalogue
        self._queue = queue or coordination
        self._running: dict[Job, asyncio.Task[None]] = {}

    def routes(self) -> list[Route]:
        """Return the API's routes."""
        return [
            Route("/api/redrive", self.redrive, methods=["POST"]),
            Route("/api/discard", self.discard, methods=["POST"]),
        ]

    async def redrive(self, request: Request) -> ApiResponse:
        """Take {id | key | all: true, by}: 202 {job}, or 409.

        409 means that another job is running, or that the event has left the queue.
        """
        document = await read_object(request)
        return await self._start(Job(operator_of(request, document), selection_in(document)))

    async def discard(self, request: Request) -> ApiResponse:
        """Take {id, reason, by}: like `redrive`, but the event is recorded instead of handled."""
        document = await read_object(request)
        selection = {"id": text_in(document, "id", ID_CHARS)}
        reason = text_in(document, "reason")
        return await self._start(Job(operator_of(request, document), selection, reason))

    async def aclose(self) -> None:
        """Start no further event, and wait for the events in flight."""
        for job in self._running:
            job.stop("this instance of the console shuts down")
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _start(self, job: Job) -> ApiResponse:
        await self._operations.module("processing.operations")
        if not await self._coordination.acquire(REDRIVE, job.id, LEASE_SECONDS):
            raise HTTPException(409, await self._busy())
        try:
            await self._check(job)
        except BaseException:
            await self._release(REDRIVE, job)
            raise
        task = asyncio.create_task(self._run(job), name="console-redrive")
        self._running[job] = task
        task.add_done_callback(lambda _: self._running.pop(job))
        return ApiResponse({"job": job.id}, status_code=202)

    async def _busy(self) -> str:
        """Return the refusal of a second job, with the operator and the progress of the first."""
        text = "another redrive is running"
        with suppress(OperationsError):
            runs = (await self._operations.parking()).runs
            lines = [
                run.line for run in await translate_errors(runs.running()) if run.where == CONSOLE
            ]
            text = f"{text}: {lines[0]}" if lines else text
        return f"{text}; wait until it has ended"

    async def _check(self, job: Job) -> None:
        """Refuse a job that cannot begin.

        Raises:
            HTTPException: 409 if the event is neither the app's nor the name of a list, or if
                another redrive of all events is running.
            OperationsError: the queue or the lists cannot be read.
        """
        if "all" in job.selection:
            from processing.redrive.run_store import running_error  # noqa: PLC0415 - loaded by now

            runs = (await self._operations.parking()).runs
            for run in await translate_errors(runs.running()):
                if run.is_of_all:
                    raise HTTPException(409, str(running_error(run)))
        if (wanted := job.selection.get("id")) is None:
            return
        for fresh in (False, True):  # the event may be newer than the latest look at the queue
            known = await self._catalogue.known(fresh=fresh)
            if await self._catalogue.named(wanted):
                return
        if not job.reason and await self._names_list(wanted):
            return
        if why := await self._why_not_there(wanted, known):
            logger.info("%r %s: refused, %s", job.by, job.start_line, why)
            raise HTTPException(409, why)

    async def _why_not_there(self, wanted: str, known: Known) -> str:
        """Return why an event that is not in the index cannot be redriven; "": it may be there.

        The index knows no message of another app, so the messages of a short queue are received.
        """
        gone = f"event {wanted} is not in the poison queue; nothing was changed"
        state = known.state
        if known.problem or state.built_at is None or known.count is None:
            return ""
        if known.count <= state.entries:
            return gone
        if known.count > RECEIVED:
            return ""
        find_copies = (await self._operations.module("processing.poison.finding")).find_copies
        storage = await self._operations.poison()
        try:
            await find_copies(storage.reader, wanted, storage.own, index=storage.index)
        except OtherAppError as error:
            return str(error)
        except StorageUnavailableError as error:
            raise OperationsError(str(error)) from error
        except ProcessingError:
            return "" if state.held else gone
        return ""

    async def _names_list(self, wanted: str) -> bool:
        """Return whether the event's id is the name of a list without a key.

        Such a list may have no message in the queue.
        """
        from processing.redrive.selection import Selection, selects  # noqa: PLC0415 - loaded by now

        store = (await self._operations.parking()).store
        for parked in await translate_errors(store.keys()):
            if await translate_errors(selects(Selection(id=wanted), parked, store)):
                return True
        return False

    async def _run(self, job: Job) -> None:
        keeping = asyncio.create_task(self._renew_leases(job))
        showing = asyncio.create_task(self._show_progress(job))
        await self._announce(job, job.start_line, job.document())
        try:
            result = await self._replay(job)
        except ProcessingError as error:
            result = job.document(stopped=str(error)[:500], done=True)
        except Exception as error:
            logger.exception("%r %s: the job failed and is not retried", job.by, job.start_line)
            result = job.document(stopped=f"{type(error).__name__}: {error}"[:500], done=True)
        for task in (showing, keeping):
            task.cancel()
        await asyncio.gather(showing, keeping, return_exceptions=True)
        # Release before the announcement, because pages reload the queue when a job ends.
        await self._release(BROWSE, job, self._queue)
        await self._announce(job, job.end_line(result), result)
        await self._release(REDRIVE, job)

    async def _release(self, lease: str, job: Job, where: Coordination | None = None) -> None:
        try:
            await (where or self._coordination).release(lease, job.id)
        except CoordinationError as error:
            logger.warning("lease %s was not released; it expires: %s", lease, error)

    async def _replay(self, job: Job) -> dict[str, Any]:
        from processing.redrive.run_store import (  # noqa: PLC0415 - loaded by now
            RunningRedrive,
            RunPlace,
        )

        # A reader holds the queue's messages, and a redrive would miss them.
        deadline = time.monotonic() + QUEUE_SECONDS
        while not await self._queue.acquire(BROWSE, job.id, LEASE_SECONDS):
            if time.monotonic() > deadline:
                job.stop("another reader holds the poison queue")
            if job.stopping:
                break
            await asyncio.sleep(0.1)

        decision = None
        if job.reason and not job.stopping:
            decision = await self._decision(job)
        key, event = job.selection.get("key"), job.selection.get("id")
        run = RunningRedrive(job.by, RunPlace.CONSOLE, key, event, discards=bool(job.reason))
        runs = (await self._operations.parking()).runs
        async with (
            runs.entered(run) as shown,
            await self._operations.redrive(decision) as redrive,
        ):
            job.redrive = redrive

            def progress(done: int, total: int) -> None:
                job.done, job.total = done, total
                shown.progress(done, total, redrive.failed)

            try:
                if job.stopping:
                    return job.document(stopped=job.stopping, done=True)
                return job.result(await redrive.run(run.selection, progress), decision)
            finally:
                job.redrive = None

    async def _decision(self, job: Job) -> Discard | None:
        """Return the record of a discard, with the whole event as the queue has it.

        Returns:
            None: the job was stopped.

        Raises:
            ProcessingError: the event is not in the queue, or the queue cannot be read.
        """
        from processing.redrive.discard import Discard  # noqa: PLC0415 - loaded by now

        storage = await self._operations.poison()
        deciding = Discard.decide(
            *(storage.reader, storage.claims, job.selection["id"]),
            own=storage.own,
            by=job.by,
            reason=job.reason,
            index=storage.index,
        )
        job.deciding = asyncio.create_task(deciding)
        try:
            return await job.deciding
        except asyncio.CancelledError:
            if job.stopping:
                return None
            raise

    async def _renew_leases(self, job: Job) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                held = [
                    await self._coordination.acquire(REDRIVE, job.id, LEASE_SECONDS),
                    await self._queue.acquire(BROWSE, job.id, LEASE_SECONDS),
                ]
            except CoordinationError as error:
                logger.warning("the redrive's leases were not renewed; retrying: %s", error)
                continue
            if not all(held) and job.redrive is not None:
                job.stop("another redrive has begun")

    async def _show_progress(self, job: Job) -> None:
        shown = 0
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            if job.done != shown:
                shown = job.done
                try:
                    await self._backplane.publish([(REDRIVE, job.document())])
                except BackplaneError as error:
                    logger.debug("the redrive's progress was not published: %s", error)

    async def _announce(self, job: Job, line: str, message: dict[str, Any]) -> None:
        logger.info("%r %s", job.by, line)
        try:
            await self._backplane.publish([(REDRIVE, message)])
            await self._log.write("discard" if job.reason else "redrive", job.by, line)
        except BackplaneError as error:
            logger.warning("pages and log may lack the line '%s %s': %s", job.by, line, error)
