"""Texts cut at a number of bytes of their JSON form, and keys cut at a number of characters."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right

LONGEST_KEY = 256
"""Characters of the longest key that stays whole; Event Hubs accepts keys of 128."""

_HEXADECIMAL_DIGITS = 64


def json_bytes(text: str) -> int:
    """Return the number of bytes of a text in JSON, without its quotation marks.

    A character has 1 to 12 bytes, because `json_text.dumps` writes ASCII only.
    """
    return len(json.dumps(text)) - 2


def beginning(text: str, most: int) -> str:
    """Return the longest beginning of a text that has at most so many bytes in JSON."""
    if json_bytes(text) <= most:
        return text
    whole = text[: max(0, most)]  # each character has at least one byte
    return whole[: bisect_right(range(len(whole)), most, key=lambda n: json_bytes(whole[: n + 1]))]


def end(text: str, most: int) -> str:
    """Return the longest end of a text that has at most so many bytes in JSON."""
    return beginning(text[::-1], most)[::-1]


def short_key(key: str) -> str:
    """Return a key of at most `LONGEST_KEY` characters; different keys stay different.

    A longer key keeps its beginning, followed by the hash of the whole key.
    """
    if len(key) <= LONGEST_KEY:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{key[: LONGEST_KEY - _HEXADECIMAL_DIGITS - 1]}…{digest}"
