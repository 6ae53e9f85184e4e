"""The stored form of an entry: compressed JSON, with the texts by which the index finds it."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, replace

from processing.formats import json_text
from processing.poison.index.entry import TEXT_BYTES, Cause, IndexEntry
from processing.poison.message import PoisonMessage


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as the store keeps it; the receipt stands beside it.

    Attributes:
        whole: the compressed entry, or b"" if it is longer than `TEXT_BYTES`.
        short: the compressed entry without the long texts of its message.
    """

    whole: bytes
    short: bytes

    @classmethod
    def of(cls, entry: IndexEntry) -> StoredEntry:
        """Return an entry's stored form."""
        whole = _packed(entry) if entry.is_whole else b""
        return cls(b"" if len(whole) > TEXT_BYTES else whole, _packed(entry.shortened()))


def read_entry(name: str, receipt: str, data: bytes) -> IndexEntry | None:
    """Return the entry that the store keeps; None: a version that this app cannot read wrote it."""
    try:
        found = json.loads(zlib.decompress(data))
        message = PoisonMessage.from_json(json.dumps(found["message"]))
        whole = bool(found["whole"])
        if not whole:
            message = replace(message, body=None)
        return IndexEntry(name, receipt, message, str(found["where"]), whole)
    except (KeyError, TypeError, ValueError, zlib.error):
        return None


def key_digest(key: str | None) -> str:
    """Return 32 hexadecimal digits that stand for a key; no key differs from each key."""
    label = b"-" if key is None else b"=" + key.encode("utf-8", "surrogatepass")
    return hashlib.sha256(label).hexdigest()[:32]


def id_prefix(text: str) -> str:
    """Return the text with which the reversed ids begin that are `text`, or end with "/" + it."""
    return f"/{text}"[::-1]


def cause_text(cause: Cause) -> str:
    """Return a cause as a field's name."""
    return json.dumps([cause.error, cause.handler])


def read_cause(text: str) -> Cause:
    """Return the cause that a field names."""
    error, handler = json.loads(text)
    return Cause(error, handler)


def _packed(entry: IndexEntry) -> bytes:
    message = entry.message.to_dict()
    if not entry.is_whole:
        message["body"] = ""  # a message without a body and without a claim check is none
    fields = {"where": entry.where, "whole": entry.is_whole, "message": message}
    return zlib.compress(json_text.dumps(fields).encode(), 6)
