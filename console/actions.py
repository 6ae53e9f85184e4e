"""What an operator does to the circuit, and says; each refused when it comes too late."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from breaker import Circuit, CircuitBreaker, CircuitIsolatedError, StaleGenerationError
from console.answers import Answer
from console.auth import caller_of
from console.backplane import BackplaneError
from console.circuit_feed import circuit_document, history_text
from console.incident_log import TEXT_CHARS, IncidentLog, LineKind
from console.requests import generation_in, number_in, prose_in, read_object, text_in

logger = logging.getLogger(__name__)

HISTORY_MOST = 1_000


class ActionsApi:
    """Handlers over one circuit and its incident log.

    Args:
        breaker: the circuit, watched.
        log: where acts are put down.
    """

    def __init__(self, breaker: CircuitBreaker, log: IncidentLog) -> None:
        self._breaker = breaker
        self._log = log

    def routes(self) -> list[Route]:
        """The API's routes."""
        circuit = "/api/circuits/{name}"
        return [
            Route(circuit, self.show, methods=["GET"]),
            Route(f"{circuit}/approve", self.approve, methods=["POST"]),
            Route(f"{circuit}/close", self.close, methods=["POST"]),
            Route(f"{circuit}/isolate", self.isolate, methods=["POST"]),
            Route(f"{circuit}/history", self.history, methods=["GET"]),
            Route("/api/log", self.say, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Answer:
        """The circuit as it is now."""
        self._check_name(request)
        return self._answer(await self._breaker.refresh())

    async def history(self, request: Request) -> Answer:
        """The latest changes, newest first."""
        self._check_name(request)
        limit = number_in(request, "limit", default=100, most=HISTORY_MOST)
        return Answer({"history": json.loads(await history_text(self._breaker, limit))})

    async def approve(self, request: Request) -> Answer:
        """Take {generation, by} and move that generation half-open; 409 if it is not current."""
        self._check_name(request)
        document = await read_object(request)
        generation, by = generation_in(document), operator_of(request, document)
        act = self._breaker.approve(generation, by)
        return await self._done(act, "approved", by, f"approved generation {generation}")

    async def close(self, request: Request) -> Answer:
        """Take {generation, by} and close that generation without probes; 409 if not current."""
        self._check_name(request)
        document = await read_object(request)
        generation, by = generation_in(document), operator_of(request, document)
        act = self._breaker.close_circuit(generation, by)
        return await self._done(act, "closed", by, f"closed generation {generation}")

    async def isolate(self, request: Request) -> Answer:
        """Take {reason, by} and hold everything until somebody closes the circuit."""
        self._check_name(request)
        document = await read_object(request)
        reason, by = text_in(document, "reason"), operator_of(request, document)
        act = self._breaker.isolate(by, reason)
        return await self._done(act, "isolated", by, f"isolated: {reason}")

    async def say(self, request: Request) -> Answer:
        """Take {text, by}: a line of the incident log."""
        document = await read_object(request)
        text = prose_in(document, "text", TEXT_CHARS)
        cursor = await self._log.write("said", operator_of(request, document), text)
        return Answer({"cursor": cursor}, status_code=201)

    async def _done(self, act: Awaitable[Circuit], kind: LineKind, by: str, line: str) -> Answer:
        before = self._breaker.circuit
        try:
            circuit = await act
        except (StaleGenerationError, CircuitIsolatedError) as error:
            now = {"state": error.circuit.state, "generation": error.circuit.generation}
            return Answer({"error": str(error), **now}, status_code=409)
        if circuit.position != before.position:  # a repeat is no news
            try:
                await self._log.write(kind, by, line)
            except BackplaneError as error:  # it is done, and in the circuit's own history
                logger.warning("the incident log misses that %s %s: %s", by, line, error)
        return self._answer(circuit)

    def _answer(self, circuit: Circuit) -> Answer:
        return Answer(circuit_document(circuit, self._breaker.settings))

    def _check_name(self, request: Request) -> None:
        check_name(request.path_params["name"], self._breaker)


def check_name(name: str, breaker: CircuitBreaker) -> None:
    """Refuse another circuit's name.

    Raises:
        HTTPException: 404.
    """
    if name != breaker.name:
        raise HTTPException(404, f"there is no circuit {name[:64]!r} here")


def operator_of(request: Request, document: dict[str, object]) -> str:
    """In whose name: the session's operator; API callers say it themselves.

    Raises:
        HTTPException: 400 if they don't.
    """
    return caller_of(request.scope).operator or text_in(document, "by")
