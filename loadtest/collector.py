"""Gathers the evidence after a run: from Redis, the poison queue and the Event Grid topic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import redis

from loadtest.endpoints import Endpoints
from loadtest.evidence import Alert, LedgerEntry, RefusedCall, Transition
from loadtest.observer import Keys


def connect(url: str) -> AbstractContextManager[redis.Redis]:
    """A client whose answers are text, closed on leaving."""
    return redis.Redis.from_url(url, decode_responses=True)


def read_ledgers(client: redis.Redis, keys: Keys) -> Iterator[tuple[str, list[LedgerEntry]]]:
    """Every ledger of the run, one key in memory at a time; keys never sent come last."""
    expected = set(keys.event_keys)
    prefix = keys.ledger("key:")
    for key in keys.event_keys:
        yield key, _entries(client, prefix + key)
    for name in client.scan_iter(match=_literal(prefix) + "*", count=1000):
        key = str(name).removeprefix(prefix)
        if key not in expected:
            yield key, _entries(client, str(name))


def _literal(prefix: str) -> str:
    """The prefix with the characters escaped that mean something in a Redis pattern."""
    return "".join(f"\\{char}" if char in "*?[]\\^" else char for char in prefix)


def _entries(client: redis.Redis, name: str) -> list[LedgerEntry]:
    return [LedgerEntry.parse(str(text)) for text in client.lrange(name, 0, -1)]


def read_refused(client: redis.Redis, keys: Keys) -> list[RefusedCall]:
    """The calls that the outage refused."""
    return [RefusedCall.parse(str(text)) for text in client.lrange(keys.ledger("refused"), 0, -1)]


def read_history(client: redis.Redis, keys: Keys, after_generation: int) -> list[Transition]:
    """The circuit's transitions of generations above `after_generation`, oldest first."""
    entries: Any = client.xrange(keys.circuit("history"))
    transitions = [
        Transition(
            fields["event"],
            int(fields["generation"]),
            int(fields["at_us"]),
            fields.get("by", ""),
        )
        for _, fields in entries
    ]
    return [transition for transition in transitions if transition.generation > after_generation]


async def read_alerts(endpoints: Endpoints, after_generation: int) -> list[Alert]:
    """What the Event Grid topic received about generations above `after_generation`.

    The local topic endpoint lists its events at `…/events` beside the `…/api/events` to which they
    are published.
    """
    url = endpoints.event_grid_topic_endpoint.partition("?")[0].removesuffix("/api/events")
    async with httpx.AsyncClient() as client:
        answer = await client.get(
            f"{url}/events", headers={"aeg-sas-key": endpoints.event_grid_topic_key}
        )
        answer.raise_for_status()
    alerts = [
        Alert(event["id"], event["type"], int((event.get("data") or {}).get("generation", 0)))
        for event in answer.json()["events"]
    ]
    return [alert for alert in alerts if alert.generation > after_generation]
