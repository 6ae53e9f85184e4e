"""The collector of evidence from Redis and the Event Grid topic after a run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import httpx
import redis

from loadtest.target.clients import redis_options
from loadtest.target.endpoints import Endpoints
from loadtest.target.keys import Keys
from loadtest.verify.circuit_check import OPENED_ALERT
from loadtest.verify.evidence import (
    Alert,
    LedgerEntry,
    ListEvidence,
    RefusedCall,
    Transition,
)


def connect(endpoints: Endpoints) -> AbstractContextManager[redis.Redis]:
    """Return a Redis client with text responses, closed on leaving the context manager."""
    options = redis_options(endpoints)
    return redis.Redis.from_url(endpoints.redis_url, decode_responses=True, **options)


def read_ledgers(client: redis.Redis, keys: Keys) -> Iterator[tuple[str, list[LedgerEntry]]]:
    """Yield each key's ledger, one in memory at a time; keys that were never sent come last."""
    expected = set(keys.event_keys)
    prefix = keys.ledger("key:")
    for key in keys.event_keys:
        yield key, _entries(client, prefix + key)
    for name in client.scan_iter(match=_literal(prefix) + "*", count=1000):
        key = str(name).removeprefix(prefix)
        if key not in expected:
            yield key, _entries(client, str(name))


def _literal(prefix: str) -> str:
    """Return the prefix with the special characters of a Redis pattern escaped."""
    return "".join(f"\\{char}" if char in "*?[]\\^" else char for char in prefix)


def _entries(client: redis.Redis, name: str) -> list[LedgerEntry]:
    return [LedgerEntry.parse(str(text)) for text in client.lrange(name, 0, -1)]


def read_refused(client: redis.Redis, keys: Keys) -> list[RefusedCall]:
    """Return the calls that the outage refused."""
    return [RefusedCall.parse(str(text)) for text in client.lrange(keys.ledger("refused"), 0, -1)]


def read_deaths(client: redis.Redis, keys: Keys) -> int:
    """Return the number of calls with an event that ends its process."""
    count: Any = client.get(keys.ledger("deaths"))
    return int(count or 0)


def read_lists(client: redis.Redis, keys: Keys) -> ListEvidence:
    """Return what a handler of lists has noted about its calls."""
    sizes: Any = client.zrange(keys.ledger("lists"), 0, -1, withscores=True)
    wrong: Any = client.lrange(keys.ledger("wrong"), 0, -1)
    return ListEvidence({int(size): int(count) for size, count in sizes}, wrong)


def read_history(
    client: redis.Redis, keys: Keys, after_generation: int, dependency: str = ""
) -> list[Transition]:
    """Return a circuit's transitions of generations above `after_generation`, oldest first.

    The circuit is that of `dependency`, or the app's without one.
    """
    if dependency:
        entries: Any = client.xrange(keys.dependency_circuit(dependency, "history"))
    else:
        entries = client.xrange(keys.circuit("history"))
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


def read_accepted_alerts(client: redis.Redis, keys: Keys, after_generation: int) -> list[Alert]:
    """Return the opening alerts that Event Grid has accepted, derived from history and outbox.

    The circuit writes each transition together with its alert. The alert is removed from the outbox
    once Event Grid has accepted it.
    """
    waiting: Any = client.xrange(keys.circuit("outbox"))
    unsent = {int(fields["generation"]) for _, fields in waiting if fields["event"] == "opened"}
    return [
        Alert(f"{keys.circuit_name}:{each.generation}:opened", OPENED_ALERT, each.generation)
        for each in read_history(client, keys, after_generation)
        if each.event == "opened" and each.generation not in unsent
    ]


async def read_alerts(endpoints: Endpoints, keys: Keys, after_generation: int) -> list[Alert]:
    """Return the alerts about generations above `after_generation` that Event Grid received.

    Alerts about a dependency's circuit have generations of their own, and are all returned. Alerts
    about the circuits of another pipeline are left out.

    The local topic endpoint takes events at `…/api/events` and lists them at `…/events`. Azure's
    topic endpoint cannot list events, so that the outbox is read instead.
    """
    if endpoints.is_azure:
        return await asyncio.to_thread(_accepted, endpoints, keys, after_generation)
    return [
        alert
        for alert in await read_all_alerts(endpoints)
        if alert.circuit.partition("/")[0] == keys.circuit_name
        and (alert.dependency or alert.generation > after_generation)
    ]


async def read_all_alerts(endpoints: Endpoints) -> list[Alert]:
    """Return the alerts about all circuits that the local topic received."""
    url = endpoints.event_grid_topic_endpoint.partition("?")[0].removesuffix("/api/events")
    async with httpx.AsyncClient() as client:
        answer = await client.get(
            f"{url}/events", headers={"aeg-sas-key": endpoints.event_grid_topic_key}
        )
        answer.raise_for_status()
    return [
        _alert(event["id"], event["type"], event.get("data") or {})
        for event in answer.json()["events"]
    ]


def _alert(id_: str, type_: str, data: Mapping[str, Any]) -> Alert:
    return Alert(
        *(id_, type_, int(data.get("generation", 0)), str(data.get("dependency") or "")),
        kind=str(data.get("kind") or ""),
        circuit=str(data.get("name") or ""),
    )


def _accepted(endpoints: Endpoints, keys: Keys, after_generation: int) -> list[Alert]:
    with connect(endpoints) as client:
        return read_accepted_alerts(client, keys, after_generation)
