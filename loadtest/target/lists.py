"""The app's lists in Redis: events of poisoned and deferred keys, and records of gaps."""

from __future__ import annotations

import json
from typing import Any

import redis.asyncio

_DEFERRED = "breakwater:*:parking:deferred"
_DOCUMENTS = "breakwater:*:parking:documents:*"
_GAPS = "breakwater:*:gaps"
_WAITS = b"E"
"""The kind of an event that waits; the other kinds are poisoned events."""
_SCAN = 1_000


async def deferred_keys(client: redis.asyncio.Redis, pipeline: str = "") -> frozenset[str]:
    """Return the event keys that are deferred now; labels of keyed lists begin with `=`.

    Args:
        client: the client.
        pipeline: the pipeline whose keys are returned; "" for those of all pipelines.
    """
    found: set[str] = set()
    async for name in client.scan_iter(match=_DEFERRED, count=_SCAN):
        if pipeline and _pipeline_of(name) != pipeline:
            continue
        labels: Any = await client.hkeys(name)
        found.update(label.decode().removeprefix("=") for label in labels)
    return frozenset(found)


def _pipeline_of(name: bytes) -> str:
    """Return the pipeline in a key's hash tag, `{<namespace>/<hub>/<group>/<pipeline>/<part>}`."""
    return name.decode().rpartition("}")[0].rsplit("/", 2)[1]


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


async def expired_events(client: redis.asyncio.Redis) -> dict[str, int]:
    """Return partition → the number of expired events in the app's records of gaps."""
    found: dict[str, int] = {}
    async for name in client.scan_iter(match=_GAPS, count=_SCAN):
        partition = name.decode().rpartition("}")[0].rpartition("/")[2]
        gaps: Any = await client.lrange(name, 0, -1)
        for gap in gaps:
            first, last, _, handled, _ = map(int, gap.split())
            found[partition] = found.get(partition, 0) + last - first + 1 - handled
    return found
