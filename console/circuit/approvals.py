"""Registration of the workflow's callbacks in the approvals API."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from breaker import CallbackRefusedError, CircuitBreaker
from console.circuit.actions import check_name
from console.settings import ConsoleSettings
from console.web.requests import check_callback_host, generation_in, read_object, text_in, time_in
from console.web.responses import ApiResponse

URL_CHARS = 4_096


class ApprovalsApi:
    """Handlers over one circuit.

    Args:
        breaker: the circuit, watched.
        settings: names the allowed callback hosts.
    """

    def __init__(self, breaker: CircuitBreaker, settings: ConsoleSettings) -> None:
        self._breaker = breaker
        self._settings = settings

    def routes(self) -> list[Route]:
        """Return the API's routes."""
        return [Route("/api/approvals", self.register, methods=["POST"])]

    async def register(self, request: Request) -> ApiResponse:
        """Take {circuit, generation, openedAt, callbackUrl}: 202 "waiting", or 200 "passed".

        "passed" means that the generation needs no approval any more; the callback is then called
        as well. openedAt, the time of the alert, describes an opening that the store does not have
        (see `Approvals.register`). Repeating a registration is harmless.
        """
        document = await read_object(request)
        check_name(text_in(document, "circuit"), self._breaker)
        generation, opened_at = generation_in(document), time_in(document, "openedAt")
        url = text_in(document, "callbackUrl", URL_CHARS)
        check_callback_host(url, self._settings.callback_hosts)
        try:
            passed = await self._breaker.approvals.register(generation, url, opened_at)
        except CallbackRefusedError as error:
            raise HTTPException(409, str(error)) from error
        status = "passed" if passed else "waiting"
        return ApiResponse(
            {"circuit": self._breaker.name, "generation": generation, "status": status},
            status_code=200 if passed else 202,
        )
