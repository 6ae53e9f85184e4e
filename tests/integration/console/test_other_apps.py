"""Consoles of two apps that share one circuit on one Redis: each page shows its own app (C15)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from console.backplane.keys import QUEUE
from console.backplane.redis_coordination import RedisCoordination
from console.backplane.redis_stream import RedisBackplane
from console.backplane.stream import LOG
from console.poison.redrive import BROWSE
from processing.circuit_wiring import CircuitWiring
from processing.identity import Identity
from processing.monitoring.redis_vitals import RedisVitals, RedisVitalsReader
from processing.site.reports import ReportLog

A = Identity("ns.example.net", "events", "$Default").digest
B = Identity("ns.example.net", "audit", "$Default").digest
NAMED = {
    "AzureWebJobsStorage": "AccountName=abc;AccountKey=a2V5",
    "EventHubConnection": "Endpoint=sb://NS.example.net/;SharedAccessKeyName=n;SharedAccessKey=aw==",
    "EVENT_HUB_NAME": "Events",
    "EVENT_HUB_CONSUMER_GROUP": "$default",
    "REDIS_URL": "redis://redis.invalid/0",
}


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url) as found:
        yield found


async def test_vitals_of_another_app_are_left_out(client: Any) -> None:
    """A reader finds its app's entries behind any number of others, and those without an app."""
    await RedisVitals(client, "c", "old:1").write('{"handled":1}')
    async with client.pipeline(transaction=False) as pipe:
        for _ in range(1_001):  # more than one read returns
            pipe.xadd("processing:{c}:vitals", {"instance": "b:1", "app": B, "data": "{}"})
        await pipe.execute()
    await RedisVitals(client, "c", "a:1", A).write('{"handled":3}')
    reader = RedisVitalsReader(client, "c", A)
    first = await reader.behind("0-0")
    assert [each.instance for each in first] == ["old:1"]
    second = await reader.behind(first[-1].cursor)
    assert [each.instance for each in second] == ["a:1"]
    assert await reader.behind(second[-1].cursor) == []
    assert len(await RedisVitalsReader(client, "c").behind("0-0")) == 1_000


async def test_stop_of_an_app_is_seen_while_another_app_reports(client: Any) -> None:
    """The reports of the other app's instances do not count for the app's stop."""
    await RedisVitals(client, "c", "b:1", B).write('{"handled":1}')
    reports = await ReportLog(RedisVitalsReader(client, "c", A), time.time).read(None)
    assert reports.last == ()


async def test_backplanes_and_leases_of_two_apps_are_apart(client: Any) -> None:
    """A page shows neither the partitions nor the log of the other app, nor waits for its lease."""
    a, b = (RedisBackplane(client, "c", app=app) for app in (A, B))
    await b.publish([("partitions", {"rows": []}), (LOG, {"text": "of B"})])
    assert await a.latest(10) == []
    assert await a.log("9-0", 10) == []
    for app in (A, B):
        assert await RedisCoordination(client, "c", app=app).acquire("redrive", app, 60)


async def test_lines_and_ended_sessions_of_before_are_kept(client: Any) -> None:
    """Consoles that did not know their app wrote them; a session that has ended stays ended."""
    before, after = RedisBackplane(client, "c"), RedisBackplane(client, "c", app=A)
    for number in range(3):
        await before.publish([(LOG, {"text": f"{number}"})])
    await asyncio.sleep(0.002)  # a stream's ids are times in milliseconds
    for number in range(3, 5):
        await after.publish([(LOG, {"text": f"{number}"})])
    (latest,) = await after.latest(1)
    texts = [each.data for each in await after.log(f"{latest.cursor}1", 4)]
    assert texts == [f'{{"text":"{number}"}}' for number in range(1, 5)]
    assert [each.data for each in await after.log(latest.cursor, 1)] == ['{"text":"3"}']
    await RedisCoordination(client, "c").add("ended", "session", time.time() + 60)
    assert "session" in await RedisCoordination(client, "c", app=A).members("ended")
    assert await RedisCoordination(client, "c", app=B).members("others") == {}


async def test_consoles_over_one_queue_wait_for_each_other(client: Any) -> None:
    """While one of them reads the queue's messages, the other would see only a part of them."""
    both = [
        CircuitWiring(NAMED | {"EVENT_HUB_NAME": hub}, None).queue_digest  # type: ignore[arg-type]
        for hub in ("events", "audit")
    ]
    a, b = (RedisCoordination(client, QUEUE, app=each) for each in both)
    assert await a.acquire(BROWSE, "a", 60)
    assert not await b.acquire(BROWSE, "b", 60)
    for other in (
        {"POISON_QUEUE": "second"},
        {"AzureWebJobsStorage": "AccountName=bcd;AccountKey=aw=="},
    ):
        wiring = CircuitWiring(NAMED | other, None)  # type: ignore[arg-type]
        assert await RedisCoordination(client, QUEUE, app=wiring.queue_digest).acquire(
            BROWSE, "c", 60
        )


def test_console_knows_its_app_by_the_settings() -> None:
    """Other spellings name the same app; without the hub's settings the app is unknown."""
    assert CircuitWiring(NAMED, None).app == A  # type: ignore[arg-type]
    assert CircuitWiring({"REDIS_URL": "redis://h/0"}, None).app == ""  # type: ignore[arg-type]
