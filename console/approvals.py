"""The approvals API: the workflow registers whom to call, an operator approves."""

from __future__ import annotations

from dataclasses import asdict

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from breaker import (
    CallbackRefusedError,
    Circuit,
    CircuitBreaker,
    CircuitIsolatedError,
    StaleGenerationError,
)
from console.requests import check_callback_host, generation_in, read_object, text_in
from console.settings import ConsoleSettings

URL_CHARS = 4_096


class ApprovalsApi:
    """Handlers over one circuit.

    Args:
        breaker: the circuit, watched.
        settings: whose callback hosts may be called.
    """

    def __init__(self, breaker: CircuitBreaker, settings: ConsoleSettings) -> None:
        self._breaker = breaker
        self._settings = settings

    def routes(self) -> list[Route]:
        """The API's routes."""
        return [
            Route("/api/approvals", self.register, methods=["POST"]),
            Route("/api/circuits/{name}", self.show, methods=["GET"]),
            Route("/api/circuits/{name}/approve", self.approve, methods=["POST"]),
        ]

    async def register(self, request: Request) -> JSONResponse:
        """Take {circuit, generation, callbackUrl}: 202 "waiting", or 200 "passed".

        "passed" means that nobody needs to approve that generation any more; the callback is then
        called as well. Repeating a registration is harmless.
        """
        document = await read_object(request)
        self._check_name(text_in(document, "circuit"))
        generation = generation_in(document)
        url = text_in(document, "callbackUrl", URL_CHARS)
        check_callback_host(url, self._settings.callback_hosts)
        try:
            passed = await self._breaker.approvals.register(generation, url)
        except CallbackRefusedError as error:
            raise HTTPException(409, str(error)) from error
        status = "passed" if passed else "waiting"
        return JSONResponse(
            {"circuit": self._breaker.name, "generation": generation, "status": status},
            status_code=200 if passed else 202,
        )

    async def show(self, request: Request) -> JSONResponse:
        """The circuit as it is now."""
        self._check_name(request.path_params["name"])
        return _answer(await self._breaker.refresh())

    async def approve(self, request: Request) -> JSONResponse:
        """Take {generation, by} and move that generation half-open; 409 if it is not current."""
        self._check_name(request.path_params["name"])
        document = await read_object(request)
        generation, by = generation_in(document), text_in(document, "by")
        try:
            return _answer(await self._breaker.approve(generation, by))
        except (StaleGenerationError, CircuitIsolatedError) as error:
            circuit = {"state": error.circuit.state, "generation": error.circuit.generation}
            return JSONResponse({"error": str(error), **circuit}, status_code=409)

    def _check_name(self, name: str) -> None:
        if name != self._breaker.name:
            raise HTTPException(404, f"there is no circuit {name[:64]!r} here")


def _answer(circuit: Circuit) -> JSONResponse:
    return JSONResponse(asdict(circuit))
