"""Logging in and out, and what the page must know of its session."""

from __future__ import annotations

import hashlib
import hmac
import logging

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from console.answers import Answer
from console.auth import NAME_CHARS, caller_of
from console.coordination import Coordination, CoordinationError, MemoryCoordination
from console.requests import read_object, text_in
from console.session import COOKIE, SECONDS, Sessions
from console.settings import ConsoleSettings

logger = logging.getLogger(__name__)

WRONG_MOST = 10
WRONG_SECONDS = 60


class Login:
    """Handlers of sessions.

    Args:
        settings: the token.
        sessions: makes the cookies.
        coordination: counts wrong tries over all instances; without it each counts its own.
        circuit: the circuit's name, for the page.
    """

    def __init__(
        self,
        settings: ConsoleSettings,
        sessions: Sessions,
        coordination: Coordination,
        circuit: str,
    ) -> None:
        self._token = settings.token.encode()
        self._sessions = sessions
        self._shared = coordination
        self._own = MemoryCoordination()
        self._circuit = circuit

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/login", self.log_in, methods=["POST"]),
            Route("/logout", self.log_out, methods=["POST"]),
            Route("/api/session", self.show, methods=["GET"]),
        ]

    async def log_in(self, request: Request) -> Response:
        """Take {token, name}: 204 and a cookie, 401, or 429 after too many wrong tries."""
        document = await read_object(request)
        name = text_in(document, "name", NAME_CHARS)
        token = document.get("token")
        counter = f"login:{_hashed(request.client.host if request.client else '')}"
        if await self._wrong_so_far(counter) >= WRONG_MOST:
            raise HTTPException(
                429,
                f"{WRONG_MOST} wrong tries: wait a minute",
                headers={"Retry-After": str(WRONG_SECONDS)},
            )
        shown = token.encode("utf-8", "replace") if isinstance(token, str) else b""
        if not hmac.compare_digest(_digest(shown), _digest(self._token)):
            await self._count_wrong(counter)
            logger.warning("a login with a wrong token was refused")
            raise HTTPException(401, "that is not the console's token")
        response = Response(status_code=204)
        response.set_cookie(
            COOKIE,
            self._sessions.make(name),
            max_age=SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        logger.info("%r logged in", name)
        return response

    async def log_out(self, _: Request) -> Response:
        """Take the browser's cookie away."""
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    async def show(self, request: Request) -> Answer:
        """Who is logged in, and what acts must show."""
        caller = caller_of(request.scope)
        return Answer({"operator": caller.operator, "csrf": caller.csrf, "circuit": self._circuit})

    async def _wrong_so_far(self, counter: str) -> int:
        try:
            shared = await self._shared.counted(counter)
        except CoordinationError:
            shared = 0
        return max(shared, await self._own.counted(counter))

    async def _count_wrong(self, counter: str) -> None:
        await self._own.count(counter, WRONG_SECONDS)
        try:
            await self._shared.count(counter, WRONG_SECONDS)
        except CoordinationError as error:
            logger.debug("wrong tries are counted by this instance alone: %s", error)


def _hashed(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
