"""Operator actions on the circuit and the incident log; a stale action is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from breaker import (
    Circuit,
    CircuitBreaker,
    CircuitIsolatedError,
    StaleGenerationError,
    StoreUnavailableError,
)
from breaker.duration import format_duration, parse_duration
from console.access.auth import operator_of
from console.errors import BackplaneError
from console.live.circuit_feed import circuit_document, history_text
from console.live.incident_log import TEXT_CHARS, IncidentLog, LineKind
from console.web.requests import generation_in, number_in, prose_in, read_object, text_in
from console.web.responses import ApiResponse

logger = logging.getLogger(__name__)

HISTORY_MOST = 1_000


class ActionsApi:
    """Handlers over one circuit and its incident log.

    Args:
        breaker: the circuit, watched.
        log: the incident log, which records the actions.
    """

    def __init__(self, breaker: CircuitBreaker, log: IncidentLog) -> None:
        self._breaker = breaker
        self._log = log

    def routes(self) -> list[Route]:
        """Return the API's routes."""
        circuit = "/api/circuits/{name}"
        return [
            Route(circuit, self.show, methods=["GET"]),
            Route(f"{circuit}/approve", self.approve, methods=["POST"]),
            Route(f"{circuit}/close", self.close, methods=["POST"]),
            Route(f"{circuit}/isolate", self.isolate, methods=["POST"]),
            Route(f"{circuit}/history", self.history, methods=["GET"]),
            Route("/api/log", self.write, methods=["POST"]),
        ]

    async def show(self, request: Request) -> ApiResponse:
        """Return the current circuit, or 503 while the store does not answer.

        Workflows act on the state, so an outdated state is never returned.
        """
        self._check_name(request)
        circuit = await self._breaker.refresh()
        if circuit.degraded:
            raise StoreUnavailableError(f"the store of circuit {circuit.name!r} does not answer")
        return self._answer(circuit)

    async def history(self, request: Request) -> ApiResponse:
        """Return the latest changes, newest first."""
        self._check_name(request)
        limit = number_in(request, "limit", default=100, most=HISTORY_MOST)
        return ApiResponse({"history": json.loads(await history_text(self._breaker, limit))})

    async def approve(self, request: Request) -> ApiResponse:
        """Take {generation, by} and move that generation half-open; 409 if it is not current."""
        generation, by = await self._generation_and_operator(request)
        act = self._breaker.approve(generation, by)
        return await self._done(act, "approved", by, "approve", f" generation {generation}")

    async def close(self, request: Request) -> ApiResponse:
        """Take {generation, by} and close that generation without probes; 409 if not current."""
        generation, by = await self._generation_and_operator(request)
        act = self._breaker.close_circuit(generation, by)
        return await self._done(act, "closed", by, "close", f" generation {generation}")

    async def isolate(self, request: Request) -> ApiResponse:
        """Take {reason, by, for} and isolate the circuit; `for` may be missing.

        `for` is the length of the isolation, such as "2h"; without it the circuit stays isolated
        until an operator closes the circuit. See `CircuitBreaker.isolate`.
        """
        self._check_name(request)
        document = await read_object(request)
        reason, by = text_in(document, "reason"), operator_of(request, document)
        seconds = _duration_in(document, "for")
        act = self._breaker.isolate(by, reason, seconds)
        length = "" if seconds is None else f" for {format_duration(seconds)}"
        return await self._done(act, "isolated", by, "isolate", f"{length}: {reason}")

    async def write(self, request: Request) -> ApiResponse:
        """Take {text, by} and write a line to the incident log."""
        document = await read_object(request)
        text = prose_in(document, "text", TEXT_CHARS)
        cursor = await self._log.write("said", operator_of(request, document), text)
        return ApiResponse({"cursor": cursor}, status_code=201)

    async def _generation_and_operator(self, request: Request) -> tuple[int, str]:
        self._check_name(request)
        document = await read_object(request)
        return generation_in(document), operator_of(request, document)

    async def _done(
        self, act: Awaitable[Circuit], kind: LineKind, by: str, verb: str, what: str
    ) -> ApiResponse:
        wanted = f"{verb}{what}"
        before = self._breaker.circuit
        try:
            circuit = await act
        except (StaleGenerationError, CircuitIsolatedError) as error:
            found = error.circuit
            is_now = f"it is {found.state} in generation {found.generation}"
            await self._record("refused", by, f"{wanted}: refused, {is_now}")
            now = {"state": found.state, "generation": found.generation}
            return ApiResponse({"error": str(error), **now}, status_code=409)
        except StoreUnavailableError as error:
            logger.warning("%r %s: the outcome is unknown: %s", by, wanted, error)
            raise
        # A repeated action is not recorded again, and another operator's is that operator's record.
        changed = (circuit.position, circuit.changed_at) != (before.position, before.changed_at)
        if changed and circuit.by == by:
            await self._record(kind, by, f"{kind}{what}")
        else:
            logger.info("%r %s: already done by %r", by, wanted, circuit.by)
        return self._answer(circuit)

    async def _record(self, kind: LineKind, by: str, line: str) -> None:
        logger.info("%r %s", by, line)
        try:
            await self._log.write(kind, by, line)
        except BackplaneError as error:  # the circuit's history has the action as well
            logger.warning("the incident log lacks the line '%s %s': %s", by, line, error)

    def _answer(self, circuit: Circuit) -> ApiResponse:
        return ApiResponse(circuit_document(circuit, self._breaker.settings))

    def _check_name(self, request: Request) -> None:
        check_name(request.path_params["name"], self._breaker)


def _duration_in(document: dict[str, Any], name: str) -> int | None:
    """Return a length of time in seconds; None if the field is missing or empty.

    Raises:
        HTTPException: 400 if the field is not a length of time.
    """
    value = document.get(name)
    if value is None or value == "":
        return None
    try:
        return parse_duration(text_in(document, name))
    except ValueError as error:
        raise HTTPException(400, f"{name}: {error}") from None


def check_name(name: str, breaker: CircuitBreaker) -> None:
    """Refuse the name of another circuit.

    Raises:
        HTTPException: 404 if the name is not this console's circuit.
    """
    if name != breaker.name:
        raise HTTPException(404, f"there is no circuit {name[:64]!r} in this console")
