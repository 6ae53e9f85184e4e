"""Logging in and out, and what the page must know of its session."""

from __future__ import annotations

import hashlib
import ipaddress
import logging

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from console.access.auth import NAME_CHARS, TokenDigest, caller_of
from console.access.revoked_sessions import RevokedSessions
from console.access.session import SECONDS, Sessions
from console.backplane.coordination import Coordination, MemoryCoordination
from console.errors import CoordinationError
from console.settings import ConsoleSettings
from console.web.requests import read_object, text_in
from console.web.responses import ApiResponse

logger = logging.getLogger(__name__)

WRONG_MOST = 10
WRONG_SECONDS = 60
LOGIN = "/login"
EASY_AUTH_LOGOUT = "/.auth/logout"
NETWORK_BITS = 64
"""How much of an IPv6 address counts: whoever has one has all that begin with the same."""


class Login:
    """Handlers of sessions.

    Args:
        settings: the token.
        sessions: makes the cookies.
        revoked: revokes the sessions of those who log out.
        coordination: counts tries over all instances; without it each counts its own.
        circuit: the circuit's name, for the page.
    """

    def __init__(
        self,
        settings: ConsoleSettings,
        sessions: Sessions,
        revoked: RevokedSessions,
        coordination: Coordination,
        circuit: str,
    ) -> None:
        self._token = TokenDigest(settings.token)
        self._proxies = settings.proxies
        self._sessions = sessions
        self._revoked = revoked
        self._shared = coordination
        self._own = MemoryCoordination()
        self._circuit = circuit

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route(LOGIN, self.log_in, methods=["POST"]),
            Route("/logout", self.log_out, methods=["POST"]),
            Route("/api/session", self.show, methods=["GET"]),
        ]

    async def log_in(self, request: Request) -> Response:
        """Take {token, name}: 204 and a cookie, 401, or 429 after too many wrong tries."""
        document = await read_object(request)
        name = text_in(document, "name", NAME_CHARS)
        token = document.get("token")
        address = address_of(request, self._proxies)
        counter = f"login:{_hashed(address)}"
        # Counted before it is looked at: of many at once no more than these get an answer.
        count, by_all = await self._count(counter)
        if count > WRONG_MOST:
            raise HTTPException(
                429,
                f"{WRONG_MOST} wrong tries: wait a minute",
                headers={"Retry-After": str(WRONG_SECONDS)},
            )
        if not self._token.matches(token if isinstance(token, str) else ""):
            logger.warning("a login of %r from %s with a wrong token was refused", name, address)
            raise HTTPException(401, "that is not the console's token")
        await self._own.reset(counter)
        # Who did not answer a moment ago would be waited for as long again, each time.
        if by_all:
            await self._forget(counter)
        await self._end(request, wait=by_all)
        response = Response(status_code=204)
        response.set_cookie(
            self._sessions.cookie,
            self._sessions.make(name),
            max_age=SECONDS,
            httponly=True,
            samesite="strict",
            secure=_is_secure(request),
        )
        logger.info("%r logged in from %s", name, address)
        return response

    async def log_out(self, request: Request) -> Response:
        """End the session, on all instances, and say where the page goes `next`."""
        caller = caller_of(request.scope)
        await self._end(request)
        # A name that Azure's own login gave comes with every request until that is left as well.
        azures = bool(caller.operator) and not caller.session
        response = ApiResponse({"next": EASY_AUTH_LOGOUT if azures else LOGIN})
        response.delete_cookie(
            self._sessions.cookie, httponly=True, samesite="strict", secure=_is_secure(request)
        )
        logger.info("%r logged out", caller.operator)
        return response

    async def show(self, request: Request) -> ApiResponse:
        """Who is logged in, and what acts must show."""
        caller = caller_of(request.scope)
        return ApiResponse(
            {"operator": caller.operator, "csrf": caller.csrf, "circuit": self._circuit}
        )

    async def _end(self, request: Request, *, wait: bool = True) -> None:
        caller = caller_of(request.scope)
        if caller.session:
            await self._revoked.revoke(caller.session, caller.expires, wait=wait)

    async def _count(self, counter: str) -> tuple[int, bool]:
        """How many tries there were, and whether it is all instances' count."""
        own = await self._own.increment(counter, WRONG_SECONDS)
        try:
            return max(own, await self._shared.increment(counter, WRONG_SECONDS)), True
        except CoordinationError as error:
            logger.debug("tries are counted by this instance alone: %s", error)
            return own, False

    async def _forget(self, counter: str) -> None:
        try:
            await self._shared.reset(counter)
        except CoordinationError as error:
            logger.debug("%s", error)


def address_of(request: Request, proxies: tuple[str, ...]) -> str:
    """Where somebody who logs in comes from, or "".

    Where any balancer is believed, the one that is nearest has written the last address; what
    stands before it may be the caller's own invention.
    """
    forwarded = request.headers.getlist("x-forwarded-for")
    if "*" in proxies and forwarded:
        return forwarded[-1].rpartition(",")[2].strip()
    return request.client.host if request.client else ""


def _is_secure(request: Request) -> bool:
    """Whether the browser came over https, also to a balancer that does not say so."""
    origin = request.headers.get("origin", "")
    return request.url.scheme == "https" or origin.startswith("https://")


def _hashed(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        pass
    else:
        if found.version == 6:
            address = str(ipaddress.ip_network((found, NETWORK_BITS), strict=False))
    return hashlib.sha256(address.encode()).hexdigest()[:16]
