"""The function app in the API: what was seen of it, and its stop and start by an operator."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from breaker import CircuitBreaker, CircuitState
from breaker.chain import StepKind
from console.access.auth import operator_of
from console.errors import BackplaneError
from console.live.incident_log import IncidentLog
from console.web.requests import read_object, text_in
from console.web.responses import ApiResponse
from processing.site.acts import Act, act
from processing.site.settings import NOT_SET
from processing.site.statement import Seen, refusal_of_start, refusal_of_stop, statement
from processing.site.watch import SiteWatch

logger = logging.getLogger(__name__)

STOPS_ALL = (
    "a stop would stop all pipelines of the app; isolate this pipeline's circuit instead, or run "
    "`breakwater stop`"
)


class SiteApi:
    """Handlers over the function app.

    Args:
        breaker: the circuit, whose history gets each stop and start.
        watch: collects what is seen of the app.
        log: the incident log, which records the actions.
        others: the circuits of the app's other pipelines, whose histories get the steps too.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        watch: SiteWatch,
        log: IncidentLog,
        others: Sequence[CircuitBreaker] = (),
    ) -> None:
        self._breaker = breaker
        self._others = others
        self._watch = watch
        self._log = log

    def routes(self) -> list[Route]:
        """Return the API's routes."""
        return [
            Route("/api/app", self.show, methods=["GET"]),
            Route("/api/app/stop", self.stop, methods=["POST"]),
            Route("/api/app/start", self.start, methods=["POST"]),
        ]

    async def show(self, _: Request) -> ApiResponse:
        """Return what is seen now; the app's state is read for this answer."""
        await self._watch.read_state(attempts=2)
        return ApiResponse(app_document(await self._watch.look()))

    async def stop(self, request: Request) -> ApiResponse:
        """Take {by, reason} and ask for a stop of the app; the circuit stays as it is."""
        return await self._act(StepKind.STOP, request)

    async def start(self, request: Request) -> ApiResponse:
        """Take {by, reason} and ask for a start of the app; the circuit stays as it is."""
        return await self._act(StepKind.START, request)

    async def _act(self, kind: StepKind, request: Request) -> ApiResponse:
        """Return {accepted, detail, recorded, released, holds}, or 502 with the reason.

        409: a stop from a pipeline whose circuit does not stop the app; 503: FUNCTION_APP_URL is
        not set.
        """
        document = await read_object(request)
        by = operator_of(request, document)
        breaker = self._breaker
        if kind is StepKind.STOP and not breaker.stops_app:
            raise HTTPException(409, STOPS_ALL)
        reason = text_in(document, "reason") if document.get("reason") else ""
        if self._watch.site is None:
            raise HTTPException(503, NOT_SET)
        done = await act(kind, self._watch.site, breaker, by=by, reason=reason, others=self._others)
        await self._record(done, reason)
        if done.error is not None:
            raise HTTPException(502, str(done.error))
        circuit = breaker.circuit
        return ApiResponse(
            {
                "accepted": True,
                "detail": done.step.detail,
                "recorded": not done.unrecorded,
                "released": done.released,
                "holds": circuit.state in {CircuitState.OPEN, CircuitState.ISOLATED},
            }
        )

    async def _record(self, done: Act, reason: str) -> None:
        step = done.step
        why = f": {reason}" if reason else ""
        if done.error is None:
            line = f"asked to {step.kind} the app{why}; accepted"
        else:
            line = f"asked to {step.kind} the app{why}; {done.error}"
        logger.info("%r %s", step.by, line)
        try:
            await self._log.write("refused" if done.error else step.kind.value, step.by, line)
        except BackplaneError as error:  # the circuit's history may have the step
            logger.warning("the incident log lacks the line '%s %s': %s", step.by, line, error)


def app_document(seen: Seen) -> dict[str, Any]:
    """Return what the page receives about the app; the text of a button's refusal may be empty."""
    site = seen.site
    known = site is not None and not site.error and site.read_at is not None
    return {
        "time": round(seen.now * 1000),
        "lines": [asdict(line) for line in statement(seen)],
        "configured": site is not None,
        "stops_app": seen.stops_app,
        "state": site.state if site is not None and known else "",
        "seen_at": site.read_at if site is not None and known else None,
        "start_refusal": refusal_of_start(seen),
        "stop_refusal": refusal_of_stop(seen),
        "waiting": len(seen.chain.waiting) if seen.chain is not None else None,
        "reporting": None if seen.reports is None else seen.reporting,
    }
