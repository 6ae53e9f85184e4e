"""The check of shared access signatures against the configured keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote_plus, unquote_plus, urlsplit

_PREFIX = "SharedAccessSignature "


class TokenError(ValueError):
    """A refused token; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The access that a token grants: paths under `path` until `expires_at` (s since 1970)."""

    path: str
    expires_at: float

    def covers(self, hub: str, now: float) -> bool:
        """Return whether the grant gives access to a hub at the time `now`."""
        return now < self.expires_at and (
            not self.path or self.path == hub.lower() or self.path.startswith(f"{hub.lower()}/")
        )


def check_token(token: str, keys: Mapping[str, str], now: float) -> Grant:
    """Check a shared access signature against the keys by name.

    Raises:
        TokenError: the form, key name, signature or expiry of the token is wrong.
    """
    if not token.startswith(_PREFIX):
        raise TokenError("MalformedToken: The token must be a shared access signature")
    fields = dict(parse_qsl(token.removeprefix(_PREFIX)))
    try:
        resource, signature, expiry = fields["sr"], fields["sig"], int(fields["se"])
        name = fields["skn"]
    except (KeyError, ValueError):
        raise TokenError("MalformedToken: The token must have sr, sig, se and skn") from None
    key = keys.get(name, keys.get(unquote_plus(name)))
    if key is None:
        raise TokenError("InvalidSignature: The key name is not known")
    # SDKs sign different forms of the resource: the form that is sent, or quoted again.
    candidates = {quote_plus(resource), resource, quote_plus(resource).lower()}
    if not any(
        hmac.compare_digest(signature.encode(), sign(candidate, expiry, key))
        for candidate in candidates
    ):
        raise TokenError("InvalidSignature: The token has an invalid signature")
    if expiry <= now:
        raise TokenError("ExpiredToken: The token is expired")
    return Grant(urlsplit(unquote_plus(resource)).path.strip("/").lower(), expiry)


def sign(quoted_resource: str, expiry: int, key: str) -> bytes:
    """Return the base64 signature over a quoted resource and an expiry (seconds since 1970)."""
    digest = hmac.digest(key.encode(), f"{quoted_resource}\n{expiry}".encode(), hashlib.sha256)
    return base64.b64encode(digest)
