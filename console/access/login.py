"""Login, logout, and the session's data for the page."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from console.access.auth import TokenDigest, caller_of
from console.access.operator_name import NAME_CHARS
from console.access.revoked_sessions import RevokedSessions
from console.access.session import SECONDS, Sessions
from console.backplane.coordination import Coordination, MemoryCoordination
from console.errors import CoordinationError
from console.settings import ConsoleSettings
from console.web.requests import line_in, read_object
from console.web.responses import ApiResponse

logger = logging.getLogger(__name__)

WRONG_MOST = 10
WRONG_SECONDS = 60
LOGIN = "/login"
EASY_AUTH_LOGOUT = "/.auth/logout"
NETWORK_BITS = 64
"""IPv6 prefix that counts as one client, because a client usually owns a whole /64 network."""


class Login:
    """Handlers of login, logout and the session.

    Args:
        settings: the token and the proxies.
        sessions: creates the cookies.
        revoked: revokes sessions on logout.
        coordination: counts login attempts over all instances; in an outage each instance counts.
        circuit: the circuit's name, for the page.
        pipelines: name and circuit of each declared pipeline, for the page.
    """

    def __init__(
        self,
        settings: ConsoleSettings,
        sessions: Sessions,
        revoked: RevokedSessions,
        coordination: Coordination,
        circuit: str,
        *,
        pipelines: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._token = TokenDigest(settings.token)
        self._proxies = settings.proxies
        self._sessions = sessions
        self._revoked = revoked
        self._shared = coordination
        self._own = MemoryCoordination()
        self._page: dict[str, object] = {"circuit": circuit}
        if pipelines:
            self._page["pipelines"] = [
                {"name": name, "circuit": its_circuit} for name, its_circuit in pipelines
            ]

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(LOGIN, self.log_in, methods=["POST"]),
            Route("/logout", self.log_out, methods=["POST"]),
            Route("/api/session", self.show, methods=["GET"]),
        ]

    async def log_in(self, request: Request) -> Response:
        """Take {token, name}: 204 and a cookie, 401, or 429 after too many wrong tokens."""
        document = await read_object(request)
        name = line_in(document, "name", NAME_CHARS)
        token = document.get("token")
        address = address_of(request, self._proxies)
        counter = f"login:{_hashed(address)}"
        # Counting comes before the check, so that parallel attempts cannot exceed the limit.
        count, by_all = await self._count(counter)
        if count > WRONG_MOST:
            raise HTTPException(
                429,
                f"more than {WRONG_MOST} login attempts with a wrong token; wait {WRONG_SECONDS} s",
                headers={"Retry-After": str(WRONG_SECONDS)},
            )
        if not self._token.matches(token if isinstance(token, str) else ""):
            logger.warning("refused a login of %r from %s: wrong token", name, address)
            raise HTTPException(401, "the token is wrong; it takes the console's CONSOLE_TOKEN")
        await self._own.reset(counter)
        # If the shared counter has just timed out, another call would time out as well.
        if by_all:
            await self._reset_shared(counter)
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
        """End the session on all instances; return the page that comes `next`."""
        caller = caller_of(request.scope)
        await self._end(request)
        # Azure's login sends the operator's name with every request until its own logout.
        easy_auth = bool(caller.operator) and not caller.session
        response = ApiResponse({"next": EASY_AUTH_LOGOUT if easy_auth else LOGIN})
        response.delete_cookie(
            self._sessions.cookie, httponly=True, samesite="strict", secure=_is_secure(request)
        )
        logger.info("%r logged out", caller.operator)
        return response

    async def show(self, request: Request) -> ApiResponse:
        """Return the operator, the CSRF token for actions, and the circuit's name.

        With declared pipelines the answer lists them, each with its circuit's name.
        """
        caller = caller_of(request.scope)
        return ApiResponse({"operator": caller.operator, "csrf": caller.csrf} | self._page)

    async def _end(self, request: Request, *, wait: bool = True) -> None:
        caller = caller_of(request.scope)
        if caller.session:
            await self._revoked.revoke(caller.session, caller.expires, wait=wait)

    async def _count(self, counter: str) -> tuple[int, bool]:
        """Return the number of attempts, and whether all instances share the count."""
        own = await self._own.increment(counter, WRONG_SECONDS)
        try:
            return max(own, await self._shared.increment(counter, WRONG_SECONDS)), True
        except CoordinationError as error:
            logger.debug("login attempts are counted by this instance alone: %s", error)
            return own, False

    async def _reset_shared(self, counter: str) -> None:
        try:
            await self._shared.reset(counter)
        except CoordinationError as error:
            logger.debug("the shared count of login attempts was not reset: %s", error)


def address_of(request: Request, proxies: tuple[str, ...]) -> str:
    """Return the client's address, or "".

    If every proxy is trusted, the nearest proxy wrote the last address of X-Forwarded-For. The
    client may have forged the addresses before that one.
    """
    forwarded = request.headers.getlist("x-forwarded-for")
    if "*" in proxies and forwarded:
        return forwarded[-1].rpartition(",")[2].strip()
    return request.client.host if request.client else ""


def _is_secure(request: Request) -> bool:
    """Return whether the browser uses https, even if the load balancer does not report it."""
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
