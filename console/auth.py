"""Who may talk to the console: whoever shows the bearer token."""

from __future__ import annotations

import hashlib
import hmac

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

PUBLIC_PATHS = frozenset({"/healthz"})


class BearerAuth:
    """Middleware: everything but the public paths needs `Authorization: Bearer <token>`.

    Digests of equal length are compared in constant time, so that neither the token nor its
    length shows in how long a refusal takes.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._digest = _digest(token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 401."""
        if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS or self._is_known(scope):
            await self._app(scope, receive, send)
            return
        response = JSONResponse(
            {"error": "Authorization is missing or wrong: it takes 'Bearer <CONSOLE_TOKEN>'"},
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )
        await response(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        header = Request(scope).headers.get("authorization", "")
        kind, _, token = header.partition(" ")
        shown = _digest(token.strip().encode("utf-8", "replace"))
        return hmac.compare_digest(shown, self._digest) and kind.lower() == "bearer"


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
