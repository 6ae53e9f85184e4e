"""The workflow's API: registration of its callbacks, and the record of its stops and starts."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from breaker import CallbackRefusedError, CircuitBreaker, Step, StepKind, WaitsFor
from breaker.chain import run_name
from console.circuit.circuits import AllCircuits
from console.settings import ConsoleSettings
from console.web.requests import check_callback_host, generation_in, read_object, text_in, time_in
from console.web.responses import ApiResponse

logger = logging.getLogger(__name__)

URL_CHARS = 4_096
RUN_CHARS = 100
_CODES = range(100, 1_000)


class ApprovalsApi:
    """Handlers over the circuits.

    Args:
        circuits: the circuits of all pipelines, watched.
        settings: names the allowed callback hosts.
    """

    def __init__(self, circuits: AllCircuits, settings: ConsoleSettings) -> None:
        self._circuits = circuits
        self._settings = settings

    def routes(self) -> list[Route]:
        """Return the API's routes."""
        return [
            Route("/api/approvals", self.register, methods=["POST"]),
            Route("/api/approvals/steps", self.report, methods=["POST"]),
        ]

    async def register(self, request: Request) -> ApiResponse:
        """Take a callback: 202 "waiting", or 200 "passed" if nothing is left to decide.

        The body is {circuit, generation, openedAt, callbackUrl, run, waitsFor, stop, start}, of
        which openedAt and all after callbackUrl may be missing. The callback is called after this
        response. openedAt, the time of the alert, describes an opening that the store does not
        have (see `Approvals.register`). waitsFor is "approval" or "start". For stop and start, see
        `report`; an invalid one is ignored. Repeating a registration is harmless.
        """
        document = await read_object(request)
        name = _circuit_in(document)
        generation, opened_at = generation_in(document), time_in(document, "openedAt")
        url = text_in(document, "callbackUrl", URL_CHARS)
        check_callback_host(url, self._settings.callback_hosts)
        run, waits_for = _run_in(document), _waits_for_in(document)
        breaker = await self._circuits.of_opening(name)
        approvals = breaker.approvals
        try:
            await self._record(breaker, _steps_in(document, generation, run))
        except HTTPException as error:  # the request for approval matters more than its record
            logger.warning("a step of workflow run %r is not on record: %s", run, error.detail)
        try:
            passed = await approvals.register(
                generation, url, opened_at, run=run, waits_for=waits_for
            )
        except CallbackRefusedError as error:
            raise HTTPException(409, str(error)) from error
        status = "passed" if passed else "waiting"
        return ApiResponse(
            {"circuit": breaker.name, "generation": generation, "status": status},
            status_code=200 if passed else 202,
        )

    async def report(self, request: Request) -> ApiResponse:
        """Put stops and starts of a workflow run on record.

        The body is {circuit, generation, run, ended, stop, start}, of which all after generation
        may be missing. If ended is true, the run waits no more, and its callbacks are removed. Stop
        and start are {status, code, at}: the status of the workflow's action, the HTTP status of
        the answer or null, and the time of the call in ISO 8601.
        """
        document = await read_object(request)
        breaker = self._circuits.named(_circuit_in(document))
        generation, run = generation_in(document), _run_in(document)
        await self._record(breaker, _steps_in(document, generation, run))
        if document.get("ended") is True and run:
            await breaker.approvals.forget(run)
        return ApiResponse({"circuit": breaker.name, "generation": generation})

    async def _record(self, breaker: CircuitBreaker, steps: list[Step]) -> None:
        """Put steps on record in the circuit of the run, and in those of the other pipelines."""
        for step in steps:
            await breaker.approvals.report(step)
            for other in self._circuits.besides(breaker):
                await other.approvals.report(replace(step, generation=other.circuit.generation))


def _circuit_in(document: dict[str, Any]) -> str:
    return text_in(document, "circuit")


def _run_in(document: dict[str, Any]) -> str:
    return text_in(document, "run", RUN_CHARS) if document.get("run") is not None else ""


def _waits_for_in(document: dict[str, Any]) -> WaitsFor:
    value = document.get("waitsFor", WaitsFor.APPROVAL)
    if value not in set(WaitsFor):
        raise HTTPException(400, f"waitsFor is not one of {', '.join(WaitsFor)}")
    return WaitsFor(value)


def _steps_in(document: dict[str, Any], generation: int, run: str) -> list[Step]:
    return [
        step for kind in StepKind if (step := _step_in(document, kind, generation, run)) is not None
    ]


def _step_in(document: dict[str, Any], kind: StepKind, generation: int, run: str) -> Step | None:
    """Return a step of the body; None if the run has not made the call.

    Raises:
        HTTPException: 400 if the step has no status or no time, or the code is no HTTP status.
    """
    value = document.get(str(kind))
    if not value:
        return None
    if not isinstance(value, dict):
        raise HTTPException(400, f"{kind} is not an object")
    status, code, at = text_in(value, "status"), value.get("code"), time_in(value, "at")
    if at is None:
        raise HTTPException(400, f"{kind} has no time: at is missing")
    if code is not None and (type(code) is not int or code not in _CODES):
        raise HTTPException(400, f"{kind} has a code that is not an HTTP status")
    accepted = status == "Succeeded"
    detail = f"HTTP {code}" if code is not None else "" if accepted else "no answer"
    return Step(kind, generation, accepted, detail, at, run_name(run))
