"""Browser sessions: a cookie that any instance can check, without state on a server.

The cookie is `<payload>.<signature>`. The signing key is derived from the console's token, so a new
token ends every session. The page's CSRF token is derived from the cookie. The only stored data are
the revoked sessions, see `console.access.revoked_sessions`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

COOKIE = "breakwater_session"
NAME_CHARS = 8
SECONDS = 12 * 3600
COOKIE_CHARS = 1_024


@dataclass(frozen=True, slots=True)
class Session:
    """The session of one login.

    Attributes:
        operator: the operator's name.
        expires: when the session ends, seconds since 1970.
        csrf: the token that the page must send with actions.
        id: the session's id, which is not a secret and grants no access.
    """

    operator: str
    expires: float
    csrf: str
    id: str


class Sessions:
    """Creator and reader of session cookies.

    Args:
        token: the console's token.
        clock: the time, in seconds since 1970.

    Attributes:
        cookie: the cookie's name, which depends on the token. Browsers share cookies between all
            ports of a host, so consoles side by side would overwrite a cookie of the same name. All
            instances of one console use the same name.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.time) -> None:
        self._key = hmac.digest(token.encode(), b"breakwater console session", "sha256")
        self._clock = clock
        self.cookie = f"{COOKIE}_{self._sign('name', '')[:NAME_CHARS]}"

    def make(self, operator: str) -> str:
        """Return a new cookie's value."""
        claims = {"by": operator, "until": self._clock() + SECONDS, "id": secrets.token_hex(8)}
        # A name of 64 rare characters, escaped, would be too long for a cookie.
        text = json.dumps(claims, ensure_ascii=False).encode()
        payload = base64.urlsafe_b64encode(text).decode().rstrip("=")
        return f"{payload}.{self._sign('cookie', payload)}"

    def read(self, cookie: str) -> Session | None:
        """Return the session of a cookie's value; None if the cookie is invalid or expired."""
        payload, _, signature = cookie.rpartition(".")
        if len(cookie) > COOKIE_CHARS or not cookie.isascii():
            return None
        if not hmac.compare_digest(signature, self._sign("cookie", payload)):
            return None
        try:
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            operator, identity = str(claims["by"]), str(claims["id"])
            session = Session(operator, float(claims["until"]), self.csrf(cookie), identity)
        except (binascii.Error, ValueError, KeyError, TypeError):  # signed by an older version
            return None
        return session if self._clock() < session.expires else None

    def csrf(self, of: str) -> str:
        """Return the CSRF token of a cookie, or of another name of the session."""
        return self._sign("csrf", of)

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()
