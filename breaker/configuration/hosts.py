"""Host names and ports in the addresses of settings."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import SplitResult

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MOST_CHARACTERS = 253


def is_host(name: str) -> bool:
    """Return whether a text is a DNS name or an IP address; IPv6 has no brackets here.

    An underscore is accepted, because names in a container network may have one.
    """
    with suppress(ValueError):
        ip_address(name)
        return True
    try:
        plain = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return False
    plain = plain.removesuffix(".")
    return len(plain) <= _MOST_CHARACTERS and all(map(_LABEL.fullmatch, plain.split(".")))


def is_server(parts: SplitResult) -> bool:
    """Return whether an address has a host and, if it has a port, a port from 1 to 65535."""
    try:
        port = parts.port
    except ValueError:
        return False
    return port != 0 and is_host(parts.hostname or "")
