"""Browser sessions: a cookie that any instance can check, and nothing kept on a server.

The cookie is `<payload>.<signature>`, signed with a key that is derived from the console's token: a
new token ends every session. The page's CSRF token is derived from the cookie. What is kept is only
which sessions were ended before their time: see `console.access.revoked_sessions`.
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
    """Who is logged in, until when (seconds since 1970), and what the page must show with acts.

    `id` names the session; it is no secret, and lets nobody in.
    """

    operator: str
    expires: float
    csrf: str
    id: str


class Sessions:
    """Makes and reads cookies.

    Args:
        token: the console's.
        clock: the time, in seconds since 1970.

    Attributes:
        cookie: the cookie's name. Browsers keep one jar for all ports of a host, so each token has
            a name of its own: consoles side by side would take each other's place in it, while all
            instances of one console read the same cookie behind whatever balancer.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.time) -> None:
        self._key = hmac.digest(token.encode(), b"breakwater console session", "sha256")
        self._clock = clock
        self.cookie = f"{COOKIE}_{self._sign('name', '')[:NAME_CHARS]}"

    def make(self, operator: str) -> str:
        """A new cookie's value."""
        claims = {"by": operator, "until": self._clock() + SECONDS, "id": secrets.token_hex(8)}
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return f"{payload}.{self._sign('cookie', payload)}"

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie's value; None when it is none of ours, or has ended."""
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
        """The token that goes with a cookie, or with whatever else names the session."""
        return self._sign("csrf", of)

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()
