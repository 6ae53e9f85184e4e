"""Authentication: API callers send the bearer token, operators have a session.

A browser sends its cookie with the requests of any site's page. So a request with a cookie must
also prove that a page of the console sent the request. The proof is the Origin header and, for
actions, the session's CSRF token.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from breaker.configuration.lookup import bare
from console.access.operator_name import header_text, operator_name
from console.access.revoked_sessions import RevokedSessions
from console.access.session import Sessions
from console.origins import Origin
from console.settings import ConsoleSettings
from console.web.requests import line_in
from console.web.responses import ApiResponse
from console.web.websocket_close import FOREIGN, UNKNOWN, refuse

PUBLIC_PATHS = frozenset({"/healthz", "/login"})
PUBLIC_PREFIX = "/static/login."
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LINK_NAMES = ("pipeline", "circuit", "generation")
LINK_CHARS = 64


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request.

    Attributes:
        operator: the session's operator; "" for API callers, which name the operator in the body.
        csrf: the token that the page must send with actions; "" for API callers.
        expires: when the session ends, seconds since 1970.
        session: the session's id; "" for callers without a session of the console.
    """

    operator: str = ""
    csrf: str = ""
    expires: float = math.inf
    session: str = ""


class TokenDigest:
    """The digest of the console's token.

    Digests of equal length are compared in constant time, so that the duration of a refusal reveals
    neither the token nor its length.
    """

    def __init__(self, token: str) -> None:
        self._digest = _digest(token)

    def matches(self, shown: str) -> bool:
        """Return whether a text is the token."""
        return hmac.compare_digest(_digest(shown), self._digest)


def _digest(token: str) -> bytes:
    # The setting is read without blanks and quotes around it, and so is every copy of it.
    return hashlib.sha256(bare(token).encode("utf-8", "replace")).digest()


def caller_of(scope: Scope) -> Caller:
    """Return the sender of an admitted request."""
    found = scope["state"]["caller"]
    assert isinstance(found, Caller)  # noqa: S101 - the middleware below sets it
    return found


class Auth:
    """Middleware that refuses unknown senders and requests of other sites' pages."""

    def __init__(
        self, app: ASGIApp, settings: ConsoleSettings, sessions: Sessions, revoked: RevokedSessions
    ) -> None:
        self._app = app
        self._revoked = revoked
        self._token = TokenDigest(settings.token)
        self._sessions = sessions
        self._origins = frozenset(settings.origins)
        self._easy_auth = settings.easy_auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the app, or refuse the request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        public = scope["type"] == "http" and _is_public(scope["path"])
        caller = self._caller(connection)
        if caller is None and not public:
            await self._refuse_unknown(scope, receive, send)
            return
        # A login sends the token itself, so an earlier session of the browser does not matter.
        if problem := self._foreign(connection, None if public else caller):
            await _refuse_foreign(problem, scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller or Caller()
        await self._app(scope, receive, send)

    def _caller(self, connection: HTTPConnection) -> Caller | None:
        """Return the sender of the request, or None for an unknown sender."""
        if header := connection.headers.get("authorization", ""):
            kind, _, token = header.partition(" ")
            same = self._token.matches(token)
            return Caller() if same and kind.lower() == "bearer" else None
        if self._easy_auth and (name := operator_name(connection.headers)):
            return Caller(name, self._sessions.csrf(f"easy-auth:{name}"))
        session = self._sessions.read(connection.cookies.get(self._sessions.cookie, ""))
        if session is None or session.id in self._revoked:
            return None
        return Caller(session.operator, session.csrf, session.expires, session.id)

    def _foreign(self, connection: HTTPConnection, caller: Caller | None) -> str:
        """Return why the request cannot come from a page of the console, or ""."""
        headers, scope = connection.headers, connection.scope
        upgrade = scope["type"] == "websocket"
        if not upgrade and scope["method"] in SAFE:
            return ""
        origin = headers.get("origin")
        secure = scope.get("scheme") in {"https", "wss"}
        if origin is not None and not self._is_own(origin, headers.get("host", ""), secure):
            return f"Origin {origin[:100]!r} is not the console's own"
        if caller is None or not caller.operator:
            return ""
        if origin is None:
            return "the Origin header is missing; a session needs one"
        shown = headers.get("x-csrf-token", "").encode()
        if not upgrade and not hmac.compare_digest(shown, caller.csrf.encode()):
            return "X-CSRF-Token is missing or belongs to another session; reload the page"
        return ""

    def _is_own(self, origin: str, host: str, secure: bool) -> bool:
        """Return whether pages of an origin belong to the console.

        If the console is reached over https, an http origin does not belong to the console, because
        an attacker on the network can change pages that are sent over http.
        """
        try:
            found = Origin.parse(header_text(origin))
        except ValueError:
            return False
        if str(found) in self._origins:
            return True
        return (found.scheme == "https" or not secure) and found.is_at(header_text(host))

    async def _refuse_unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await refuse(WebSocket(scope, receive, send), UNKNOWN, "log in first")
            return
        response: Response
        if scope["path"] == "/" and scope["method"] in SAFE:
            response = RedirectResponse(f"/login{_link_in(scope)}", status_code=303)
        else:
            response = ApiResponse(
                {
                    "error": "Authorization is missing or wrong; it takes 'Bearer <CONSOLE_TOKEN>',"
                    " or a session from /login"
                },
                status_code=401,
                headers={"WWW-Authenticate": "Bearer"},
            )
        await response(scope, receive, send)


async def _refuse_foreign(problem: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await refuse(WebSocket(scope, receive, send), FOREIGN, problem)
        return
    await ApiResponse({"error": problem}, status_code=403)(scope, receive, send)


def _is_public(path: str) -> bool:
    return path in PUBLIC_PATHS or (
        path.startswith(PUBLIC_PREFIX) and "/" not in path.removeprefix(PUBLIC_PREFIX)
    )


def _link_in(scope: Scope) -> str:
    """Return the query of a mail's or alert's link, which the page shows after the login."""
    query = QueryParams(scope["query_string"])
    known = {name: query[name][:LINK_CHARS] for name in LINK_NAMES if query.get(name)}
    return f"?{urlencode(known)}" if known else ""


def operator_of(request: Request, document: dict[str, object]) -> str:
    """Return the acting operator: of the session or, for API callers, the field `by`.

    Raises:
        HTTPException: 400 if an API caller does not send `by`.
    """
    return caller_of(request.scope).operator or line_in(document, "by")
