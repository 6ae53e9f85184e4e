"""Entries of the index of the poison queue for tests."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from processing.identity import Identity, Source
from processing.poison.comparison import Comparison
from processing.poison.error_detail import ErrorDetail
from processing.poison.index.entry import IndexEntry
from processing.poison.index.index import PoisonIndex
from processing.poison.memory import MemoryPoisonQueue, MemoryPoisonReader
from processing.poison.message import PoisonMessage
from processing.poison.queue import PoisonReader
from tests.support.processing.events import IDENTITY


def entry(
    number: int,
    key: str | None = "k",
    *,
    name: str = "",
    partition: str = "0",
    body: bytes = b"{}",
    error: str = "E1",
    text: str = "wrong",
    handler: str = "app:handle",
    **values: Any,
) -> IndexEntry:
    """Return an entry whose event has a number, and whose name is `m<number>`."""
    defaults: dict[str, Any] = {
        "properties": {},
        "system_properties": {},
        "offset": str(number),
        "enqueued_ms": 1_700_000_000_000 + number,
        "attempts": 1,
        "first_attempt_time": "2026-01-01T00:00:00+00:00",
        "last_attempt_time": "2026-01-01T00:00:01+00:00",
        "circuit_generation": 0,
        "instance": "test:1",
    }
    message = PoisonMessage(
        source=Source(IDENTITY, partition),
        key=key,
        body=base64.b64encode(body).decode(),
        sequence_number=number,
        error=ErrorDetail(error, text, "Traceback: wrong"),
        handler=handler,
        **(defaults | values),
    )
    return IndexEntry(name or f"m{number}", f"r{number}", message)


def compared_with(
    queue: MemoryPoisonQueue, index: PoisonIndex, own: Identity = IDENTITY
) -> Comparison:
    """Return the comparison of an index with a queue in memory."""

    async def readers() -> Mapping[str, PoisonReader]:
        return {"": MemoryPoisonReader(queue)}

    return Comparison(index, readers, own)
