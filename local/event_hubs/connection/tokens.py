"""Shared access signatures: whether a token was signed with a key that this endpoint knows."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote_plus, unquote_plus, urlsplit

_PREFIX = "SharedAccessSignature "


class TokenError(ValueError):
    """The token is not accepted; the message says why."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token opens: every path under `path`, until `expires_at` (seconds since 1970)."""

    path: str
    expires_at: float

    def covers(self, hub: str, now: float) -> bool:
        """Whether a hub may be used with this."""
        return now < self.expires_at and (
            not self.path or self.path == hub.lower() or self.path.startswith(f"{hub.lower()}/")
        )


def check_token(token: str, keys: Mapping[str, str], now: float) -> Grant:
    """Check a shared access signature against the keys by name.

    Raises:
        TokenError: its form, key name, signature or expiry is wrong.
    """
    if not token.startswith(_PREFIX):
        raise TokenError("MalformedToken: a shared access signature is needed")
    fields = dict(parse_qsl(token.removeprefix(_PREFIX)))
    try:
        resource, signature, expiry = fields["sr"], fields["sig"], int(fields["se"])
        name = fields["skn"]
    except (KeyError, ValueError):
        raise TokenError("MalformedToken: sr, sig, se and skn are needed") from None
    key = keys.get(name, keys.get(unquote_plus(name)))
    if key is None:
        raise TokenError("InvalidSignature: The key name is not known")
    # SDKs quote the resource in their own ways before signing it: as sent, or decoded and quoted.
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
