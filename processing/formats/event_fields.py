"""The fields that identify an event in a log record, without payload and key."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

from processing.identity import PIPELINE, Source


class Named(Protocol):
    """An object that names an event: the event or its poison message."""

    @property
    def id(self) -> str: ...  # noqa: D102

    @property
    def key(self) -> str | None: ...  # noqa: D102

    @property
    def source(self) -> Source: ...  # noqa: D102

    @property
    def sequence_number(self) -> int: ...  # noqa: D102


def log_fields(event: Named) -> dict[str, Any]:
    """Return the fields that identify an event in a log record; they contain no payload or key."""
    pipeline = event.source.identity.pipeline
    found = {
        "event_id": event.id,
        "hub": event.source.hub,
        "partition": event.source.partition,
        "sequence_number": event.sequence_number,
        "key_hash": key_hash(event.key),
    }
    return found if pipeline == PIPELINE else found | {"pipeline": pipeline}


def key_hash(key: str | None) -> str:
    """Return the first twelve hexadecimal digits of the key's SHA-256; "" without a key."""
    if not isinstance(key, str):  # a handler can also replace the key of its event
        return ""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]
