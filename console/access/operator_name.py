"""The name of an operator whom Azure's authentication (Easy Auth) has logged in."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any

from breaker.configuration.one_line import one_line

NAME = "x-ms-client-principal-name"
PRINCIPAL = "x-ms-client-principal"
NAME_CHARS = 64

_LOST = frozenset("?\ufffd")
"""Characters that a proxy writes instead of letters that it cannot write."""
_LOGINS = ("preferred_username", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn", "upn")
_OTHER_NAMES = (
    *("name", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"),
    *("email", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress", "emails"),
)


def operator_name(headers: Mapping[str, str]) -> str:
    """Return the operator's name, or "" if the headers have no usable name.

    The name is that of X-MS-CLIENT-PRINCIPAL-NAME. If this header has lost letters on its way, the
    name is that of the claims in X-MS-CLIENT-PRINCIPAL. Claims alone name nobody, because they have
    no signature, and a proxy may guard the name's header only.

    Args:
        headers: the request's headers, with names in lower case and values decoded as Latin-1.
    """
    if (header := headers.get(NAME)) is None:
        return ""
    given = _named(header_text(header))
    if given and _LOST.isdisjoint(given):
        return given
    claimed = next(filter(None, map(_named, _claimed(headers.get(PRINCIPAL, "")))), "")
    return claimed or given


def header_text(value: str) -> str:
    """Return a header's text: its bytes are UTF-8 if they can be, else Latin-1.

    HTTP gives no encoding to a header's bytes, and ASGI servers decode them as Latin-1.
    """
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _named(text: str) -> str:
    try:
        return one_line(one_line(text)[:NAME_CHARS])
    except ValueError:
        return ""


def _claimed(principal: str) -> Iterator[str]:
    """Yield the names in the base64 JSON of X-MS-CLIENT-PRINCIPAL.

    Logins come first, because people can change other names of theirs.
    """
    try:
        document: Any = json.loads(base64.b64decode(principal + "=" * (-len(principal) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return
    if not isinstance(document, dict):
        return
    found: dict[str, str] = {}
    claims = document.get("claims")
    for claim in claims if isinstance(claims, list) else ():
        if isinstance(claim, dict):
            kind, value = claim.get("typ"), claim.get("val")
            if isinstance(kind, str) and isinstance(value, str):
                found.setdefault(kind.lower(), value)
    first = document.get("name_typ")
    for kind in (*_LOGINS, first.lower() if isinstance(first, str) else "", *_OTHER_NAMES):
        if kind in found:
            yield found[kind]
    details = document.get("userDetails")  # the form of Static Web Apps
    if isinstance(details, str):
        yield details
