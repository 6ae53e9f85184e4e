"""The check of a topic's address and key, which loads no SDK."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from breaker.configuration.references import unresolved
from breaker.errors import SettingsError

_SERVER = re.compile(r"([^@]*@)?(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d*)?", re.ASCII)
_UNUSABLE = re.compile(r"[\s\\]")
_KEY = re.compile(r"[!-~]+")


def check_endpoint(endpoint: str, key: str | None) -> None:
    """Check a topic's address and key without connecting.

    Raises:
        SettingsError: the address is not http(s), or is http without a key; or the key cannot be
            sent in a header. The message omits the key.
    """
    takes = {
        "EVENT_GRID_TOPIC_ENDPOINT": (endpoint, "an http(s) address"),
        "EVENT_GRID_TOPIC_KEY": (key or "", "an access key of the topic"),
    }
    for setting, (value, accepted) in takes.items():
        if problem := unresolved(value):
            raise SettingsError(f"{setting} {problem}: it takes {accepted}")
    if key and not _KEY.fullmatch(key):
        raise SettingsError(
            "EVENT_GRID_TOPIC_KEY has a blank or another character that a key does not have: it "
            "takes an access key of the topic"
        )
    scheme = _scheme(endpoint)
    if scheme not in {"http", "https"}:
        raise SettingsError(
            f"EVENT_GRID_TOPIC_ENDPOINT is {endpoint!r}: it takes an http(s) address"
        )
    if scheme == "http" and not key:
        raise SettingsError(
            "EVENT_GRID_TOPIC_ENDPOINT is an http address: it takes an https address, or "
            "EVENT_GRID_TOPIC_KEY must be set, because Entra tokens are only sent over https"
        )


def _scheme(endpoint: str) -> str:
    """Return the scheme of an address; empty if host, port or a character is invalid."""
    try:
        parts = urlsplit(endpoint)
        server = _SERVER.fullmatch(parts.netloc)
        usable = bool(server) and parts.port != 0 and not _UNUSABLE.search(endpoint)
    except ValueError:
        return ""
    return parts.scheme if usable else ""
