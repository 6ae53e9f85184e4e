"""The handler of `lists` on real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from redis.asyncio import Redis

from loadtest.handlers.listing import ListLedgerHandler
from loadtest.target.keys import Keys
from loadtest.verify.collector import read_lists
from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
from tests.support.processing.events import event

KEYS = Keys("r", "c", ["a", "b"])


def numbered(*numbers: int, key: str = "a", **simulated: str) -> list[Event]:
    """Return events; one of them may ask for something, by its number: `n3="poison"`."""
    return [
        event(
            *(number, key),
            properties={"run": "r", "counter": number, "simulate": simulated.get(f"n{number}", "")},
        )
        for number in numbers
    ]


@pytest.fixture
async def handler(redis_url: str) -> AsyncIterator[ListLedgerHandler]:
    found = ListLedgerHandler.from_settings({"REDIS_URL": redis_url})
    yield found
    await found.aclose()


async def appended(redis_url: str, key: str = "a") -> list[int]:
    async with Redis.from_url(redis_url) as client:
        entries: Any = await client.lrange(KEYS.ledger(f"key:{key}"), 0, -1)
    return [int(entry.split()[0]) for entry in entries]


async def test_list_is_appended_whole_or_not_at_all(
    handler: ListLedgerHandler, redis_url: str
) -> None:
    """A list with a poison event, and one in an outage, append nothing."""
    with pytest.raises(PoisonEventError):
        await handler(numbered(1, 2, 3, n3="poison"))
    with pytest.raises(RuntimeError):
        await handler(numbered(1, 2, n1="error"))
    async with Redis.from_url(redis_url) as client:
        await client.set(KEYS.ledger("outage"), "1")
        with pytest.raises(DependencyUnavailableError):
            await handler(numbered(1, 2))
        assert await appended(redis_url) == []
        await client.delete(KEYS.ledger("outage"))
        await handler([*numbered(1), *numbered(2, key="b"), *numbered(3)])
        await handler(numbered(3, 4))
        assert await appended(redis_url) == [1, 3, 4]
        assert await appended(redis_url, "b") == [2]
        assert await client.get(KEYS.ledger("suppressed")) == b"1"


async def test_lists_are_counted_for_the_judge(handler: ListLedgerHandler, redis_url: str) -> None:
    """So are lists that are not in order, and a key that is in two calls at a time."""
    await handler(numbered(1))
    await handler(numbered(2, 3))
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert read_lists(client, KEYS).sizes == {1: 1, 2: 1}
        assert read_lists(client, KEYS).wrong == []
        await handler(numbered(5, 4))
        await asyncio.gather(handler(numbered(6)), handler(numbered(7, 8)))
        disorder, shared = read_lists(client, KEYS).wrong
        assert disorder == "[5, 4] are not in order"
        assert "('0', 'a')" in shared
        await asyncio.gather(handler(numbered(9)), handler(numbered(10, key="b")))
        assert len(read_lists(client, KEYS).wrong) == 2
