"""Operator actions on the circuit and the incident log; a stale action is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

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
from console.circuit.circuits import PATH, Circuits, name_and_action
from console.errors import BackplaneError
from console.live.circuit_feed import circuit_document, history_text
from console.live.incident_log import TEXT_CHARS, IncidentLog, LineKind
from console.web.requests import generation_in, number_in, prose_in, read_object, text_in
from console.web.responses import ApiResponse

logger = logging.getLogger(__name__)

HISTORY_MOST = 1_000


class _Wanted(NamedTuple):
    """An action that an operator asks for: the line of the log, in infinitive and past tense."""

    breaker: CircuitBreaker
    by: str
    verb: str
    kind: LineKind
    what: str


type _Handler = Callable[[Request, CircuitBreaker], Awaitable[ApiResponse]]


class ActionsApi:
    """Handlers over the circuits and their incident log.

    Args:
        circuits: the circuits, watched.
        log: the incident log, which records the actions.
    """

    def __init__(self, circuits: Circuits, log: IncidentLog) -> None:
        self._circuits = circuits
        self._log = log
        self._actions: Mapping[str, tuple[str, _Handler]] = {
            "": ("GET", self.show),
            "history": ("GET", self.history),
            "approve": ("POST", self.approve),
            "close": ("POST", self.close),
            "isolate": ("POST", self.isolate),
        }

    @property
    def names(self) -> Mapping[str, object]:
        """The last parts of the paths; "" is the circuit itself."""
        return self._actions

    def routes(self) -> list[Route]:
        """Return the API's routes."""
        return [
            Route(f"{PATH}{{path:path}}", self.act, methods=["GET", "POST"]),
            Route("/api/log", self.write, methods=["POST"]),
        ]

    async def act(self, request: Request) -> ApiResponse:
        """Answer `/api/circuits/NAME` and `/api/circuits/NAME/ACTION`.

        A dependency's circuit has the name `APP/DEPENDENCY`, whose `/` the path encodes as `%2F`.
        """
        name, action = name_and_action(request.scope, self._actions)
        method, handler = self._actions[action]
        if request.method not in {method, "HEAD" if method == "GET" else method}:
            raise HTTPException(405, f"{request.url.path} takes {method}", {"Allow": method})
        return await handler(request, self._circuits.named(name))

    async def show(self, _: Request, breaker: CircuitBreaker) -> ApiResponse:
        """Return the current circuit, or 503 while the store does not answer.

        Workflows act on the state, so an outdated state is never returned.
        """
        circuit = await breaker.refresh()
        if circuit.degraded:
            raise StoreUnavailableError(
                circuit.problem or f"the store of circuit {circuit.name!r} does not answer"
            )
        return _answer(breaker, circuit)

    async def history(self, request: Request, breaker: CircuitBreaker) -> ApiResponse:
        """Return the latest changes, newest first."""
        limit = number_in(request, "limit", default=100, most=HISTORY_MOST)
        return ApiResponse({"history": json.loads(await history_text(breaker, limit))})

    async def approve(self, request: Request, breaker: CircuitBreaker) -> ApiResponse:
        """Take {generation, by} and move that generation half-open; 409 if it is not current."""
        generation, by = await _generation_and_operator(request)
        act = breaker.approve(generation, by)
        what = f"{self._of(breaker)} generation {generation}"
        return await self._done(act, _Wanted(breaker, by, "approve", "approved", what))

    async def close(self, request: Request, breaker: CircuitBreaker) -> ApiResponse:
        """Take {generation, by} and close that generation without probes; 409 if not current."""
        generation, by = await _generation_and_operator(request)
        act = breaker.close_circuit(generation, by)
        what = f"{self._of(breaker)} generation {generation}"
        return await self._done(act, _Wanted(breaker, by, "close", "closed", what))

    async def isolate(self, request: Request, breaker: CircuitBreaker) -> ApiResponse:
        """Take {reason, by, for} and isolate the circuit; `for` may be missing.

        `for` is the length of the isolation, such as "2h"; without it the circuit stays isolated
        until an operator closes the circuit. See `CircuitBreaker.isolate`.
        """
        document = await read_object(request)
        reason, by = text_in(document, "reason"), operator_of(request, document)
        seconds = _duration_in(document, "for")
        act = breaker.isolate(by, reason, seconds)
        length = "" if seconds is None else f" for {format_duration(seconds)}"
        what = f"{self._of(breaker)}{length}: {reason}"
        return await self._done(act, _Wanted(breaker, by, "isolate", "isolated", what))

    async def write(self, request: Request) -> ApiResponse:
        """Take {text, by} and write a line to the incident log."""
        document = await read_object(request)
        text = prose_in(document, "text", TEXT_CHARS)
        cursor = await self._log.write("said", operator_of(request, document), text)
        return ApiResponse({"cursor": cursor}, status_code=201)

    def _of(self, breaker: CircuitBreaker) -> str:
        """Return the circuit's name for the log; the app's own circuit has none there."""
        return "" if breaker is self._circuits.app else f" {breaker.name}"

    async def _done(self, act: Awaitable[Circuit], wanted: _Wanted) -> ApiResponse:
        breaker, by = wanted.breaker, wanted.by
        asked = f"{wanted.verb}{wanted.what}"
        before = breaker.circuit
        try:
            circuit = await act
        except (StaleGenerationError, CircuitIsolatedError) as error:
            found = error.circuit
            is_now = f"it is {found.state} in generation {found.generation}"
            await self._record("refused", by, f"{asked}: refused, {is_now}")
            now = {"state": found.state, "generation": found.generation}
            return ApiResponse({"error": str(error), **now}, status_code=409)
        except StoreUnavailableError as error:
            logger.warning("%r %s: the outcome is unknown: %s", by, asked, error)
            raise
        # A repeated action is not recorded again, and another operator's is that operator's record.
        changed = (circuit.position, circuit.changed_at) != (before.position, before.changed_at)
        if changed and circuit.by == by:
            await self._record(wanted.kind, by, f"{wanted.kind}{wanted.what}")
        else:
            logger.info("%r %s: already done by %r", by, asked, circuit.by)
        return _answer(breaker, circuit)

    async def _record(self, kind: LineKind, by: str, line: str) -> None:
        logger.info("%r %s", by, line)
        try:
            await self._log.write(kind, by, line)
        except BackplaneError as error:  # the circuit's history has the action as well
            logger.warning("the incident log lacks the line '%s %s': %s", by, line, error)


async def _generation_and_operator(request: Request) -> tuple[int, str]:
    document = await read_object(request)
    return generation_in(document), operator_of(request, document)


def _answer(breaker: CircuitBreaker, circuit: Circuit) -> ApiResponse:
    return ApiResponse(circuit_document(breaker, circuit))


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
