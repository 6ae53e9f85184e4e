"""The app's parked lists in Redis, which hold the events of poisoned and deferred keys."""

from __future__ import annotations

import json
from typing import Any

import redis.asyncio

_DEFERRED = "breakwater:*:parking:deferred"
_DOCUMENTS = "breakwater:*:parking:documents:*"
_WAITS = b"E"
"""The kind of an event that waits; the other kinds are poisoned events."""
_SCAN = 1_000


async def deferred_keys(client: redis.asyncio.Redis) -> frozenset[str]:
    """Return the event keys that are deferred now; labels of keyed lists begin with `=`."""
    found: set[str] = set()
    async for name in client.scan_iter(match=_DEFERRED, count=_SCAN):
        labels: Any = await client.hkeys(name)
        found.update(label.decode().removeprefix("=") for label in labels)
    return frozenset(found)


async def waiting_events(client: redis.asyncio.Redis, run: str) -> frozenset[tuple[str, int]]:
    """Return the key and counter of each event of a run that waits in a list."""
    found: set[tuple[str, int]] = set()
    async for name in client.scan_iter(match=_DOCUMENTS, count=_SCAN):
        entries: Any = client.hscan_iter(name, count=_SCAN)
        async for _, document in entries:
            if document.startswith(_WAITS):
                properties = json.loads(document[1:])["properties"]
                if properties.get("run") == run:
                    found.add((properties["key"], properties["counter"]))
    return frozenset(found)
