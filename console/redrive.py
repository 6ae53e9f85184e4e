"""Redrive from the page: one job at a time for the deployment, its progress shown to everybody."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from console.actions import operator_of
from console.answers import Answer
from console.backplane import Backplane, BackplaneError
from console.coordination import Coordination, CoordinationError
from console.incident_log import IncidentLog
from console.poison import BROWSE
from console.requests import read_object, text_in
from console.tools import Tools

if TYPE_CHECKING:
    from processing.redrive import Redrive, RedriveSummary, Selection

logger = logging.getLogger(__name__)

REDRIVE = "redrive"
"""Lease of the job that runs, and the kind of the messages about it."""
LEASE_SECONDS = 15.0
SAY_SECONDS = 0.25
QUEUE_SECONDS = 30.0
ID_CHARS = 1_024
KEY_CHARS = 256


@dataclass(slots=True)
class Job:
    """A redrive; `selection` as the page sent it."""

    by: str
    selection: dict[str, Any]
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    done: int = 0
    total: int = 0

    def document(self, **result: Any) -> dict[str, Any]:
        """What browsers are told."""
        return {
            "job": self.id,
            "by": self.by,
            "selection": self.selection,
            "time": time.time_ns() // 1_000_000,
            "replayed": self.done,
            "left": max(0, self.total - self.done),
            "failed": 0,
            "stopped": "",
            "done": False,
        } | result

    @property
    def what(self) -> str:
        """The selection for people."""
        if "id" in self.selection:
            return f"event {self.selection['id']}"
        return f"key {self.selection['key']}" if "key" in self.selection else "everything"


class RedriveApi:
    """Starts jobs, and runs this instance's.

    Args:
        tools: makes redrives.
        coordination: keeps the lease.
        backplane: carries the progress.
        log: gets a line for the beginning and one for the end.
    """

    def __init__(
        self, tools: Tools, coordination: Coordination, backplane: Backplane, log: IncidentLog
    ) -> None:
        self._tools = tools
        self._coordination = coordination
        self._backplane = backplane
        self._log = log
        self._running: asyncio.Task[None] | None = None
        self._redrive: Redrive | None = None

    def routes(self) -> list[Route]:
        """The API's routes."""
        return [Route("/api/redrive", self.start, methods=["POST"])]

    async def start(self, request: Request) -> Answer:
        """Take {id | key | all: true, by}: 202 {job}, or 409 while another job runs."""
        document = await read_object(request)
        job = Job(operator_of(request, document), selection_in(document))
        await self._tools.module("processing.operations")
        if not await self._coordination.take(REDRIVE, job.id, LEASE_SECONDS):
            raise HTTPException(409, "another redrive runs: wait for its end")
        self._running = asyncio.create_task(self._run(job), name="console-redrive")
        return Answer({"job": job.id}, status_code=202)

    async def aclose(self) -> None:
        """Let what is in flight finish and start no more."""
        if self._running is not None:
            if self._redrive is not None:
                self._redrive.stop("this instance of the console ends")
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self, job: Job) -> None:
        keeping = asyncio.create_task(self._keep_lease(job))
        showing = asyncio.create_task(self._show_progress(job))
        await self._tell(job, f"redrives {job.what}", job.document())
        try:
            result = await self._replay(job)
        except Exception as error:
            logger.exception("redrive %s failed", job.id)
            result = job.document(stopped=f"{type(error).__name__}: {error}"[:500], done=True)
        for task in (showing, keeping):
            task.cancel()
        await asyncio.gather(showing, keeping, return_exceptions=True)
        # First: a page that hears of the end asks for what is left.
        await self._give_back(BROWSE, job)
        why = f"; stopped: {result['stopped']}" if result["stopped"] else ""
        text = (
            f"redrive of {job.what}: {result['replayed']} handled, {result['failed']} failed again"
        )
        await self._tell(job, f"{text}, {result['left']} left{why}", result)
        await self._give_back(REDRIVE, job)

    async def _give_back(self, lease: str, job: Job) -> None:
        try:
            await self._coordination.give_back(lease, job.id)
        except CoordinationError as error:
            logger.warning("the redrive's lease runs out by itself: %s", error)

    async def _replay(self, job: Job) -> dict[str, Any]:
        from processing.redrive import Selection  # noqa: PLC0415 - loaded by now

        # Whoever looks at the queue holds its messages, and a redrive would miss them.
        deadline = time.monotonic() + QUEUE_SECONDS
        while not await self._coordination.take(BROWSE, job.id, LEASE_SECONDS):
            if time.monotonic() > deadline:
                return job.document(stopped="the queue is held by somebody who looks", done=True)
            await asyncio.sleep(0.1)

        def progress(done: int, total: int) -> None:
            job.done, job.total = done, total

        selection: Selection = Selection(key=job.selection.get("key"), id=job.selection.get("id"))
        async with await self._tools.redrive() as redrive:
            self._redrive = redrive
            try:
                return _result(job, await redrive.run(selection, progress))
            finally:
                self._redrive = None

    async def _keep_lease(self, job: Job) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                held = [
                    await self._coordination.take(lease, job.id, LEASE_SECONDS)
                    for lease in (REDRIVE, BROWSE)
                ]
            except CoordinationError as error:
                logger.warning("%s", error)
                continue
            if not all(held) and self._redrive is not None:
                self._redrive.stop("another redrive has begun")

    async def _show_progress(self, job: Job) -> None:
        shown = 0
        while True:
            await asyncio.sleep(SAY_SECONDS)
            if job.done != shown:
                shown = job.done
                try:
                    await self._backplane.publish([(REDRIVE, job.document())])
                except BackplaneError as error:
                    logger.debug("progress is not shown: %s", error)

    async def _tell(self, job: Job, line: str, message: dict[str, Any]) -> None:
        try:
            await self._backplane.publish([(REDRIVE, message)])
            await self._log.write("redrive", job.by, line)
        except BackplaneError as error:
            logger.warning("the page misses that %s %s: %s", job.by, line, error)


def selection_in(document: dict[str, Any]) -> dict[str, Any]:
    """The one of `id`, `key` and `all` that is there.

    Raises:
        HTTPException: 400 for none, several, or one of another form.
    """
    given = [name for name in ("id", "key", "all") if document.get(name) is not None]
    if len(given) != 1 or (given == ["all"] and document["all"] is not True):
        raise HTTPException(400, 'it takes one of {"id": ...}, {"key": ...} and {"all": true}')
    if given == ["all"]:
        return {"all": True}
    if given == ["id"]:
        return {"id": text_in(document, "id", ID_CHARS)}
    key = document["key"]
    if not isinstance(key, str) or len(key) > KEY_CHARS:
        raise HTTPException(400, f"key is not a text of at most {KEY_CHARS} characters")
    return {"key": key}  # as it is: a key may be empty, or have spaces around it


def _result(job: Job, summary: RedriveSummary) -> dict[str, Any]:
    stopped = summary.stopped
    if summary.busy and not stopped:
        stopped = f"{summary.busy} keys are being replayed elsewhere"
    return job.document(
        replayed=summary.replayed,
        left=summary.left,
        failed=len(summary.failed),
        stopped=stopped,
        done=True,
        seconds=round(summary.seconds, 3),
    )
