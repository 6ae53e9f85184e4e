"""Alert delivery to a topic: crashes, outages, order."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from breaker import BreakerSettings, CircuitBreaker, Permit, RedisCircuitStore
from breaker.alerts.event_grid import EventGridPublisher
from breaker.clock import NowUs
from tests.support.patience import HANG_SECONDS, STORE_SECONDS

OPENER = Path(__file__).parents[2] / "support" / "breaker" / "opener.py"
SETTINGS = BreakerSettings(name="c", failure_threshold=2, window_seconds=600)
KEY = "topic-key"


@dataclass
class Topic:
    """A topic endpoint that keeps the received events."""

    endpoint: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    down: bool = False
    slow: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        if request.headers.get("aeg-sas-key") != KEY:
            return web.Response(status=401)
        if self.down:
            return web.Response(status=503)
        self.events.extend(await request.json())
        self.reached.set()
        await self.slow.wait()
        return web.Response()


@pytest.fixture
async def topic() -> AsyncIterator[Topic]:
    made = Topic()
    made.slow.set()
    application = web.Application()
    application.router.add_post("/api/events", made.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.endpoint = f"{site.name}/api/events"
    yield made
    made.slow.set()
    await runner.cleanup()


def breaker_at(
    redis_url: str, topic: Topic, settings: BreakerSettings = SETTINGS, *, later: float = 0.0
) -> CircuitBreaker:
    """Return a breaker with a publisher; its store's clock is `later` seconds ahead."""
    publisher = EventGridPublisher(topic.endpoint, key=KEY)

    def now_us() -> int:
        return time.time_ns() // 1_000 + round(later * 1e6)

    store = store_at(redis_url, now_us if later else None)
    return CircuitBreaker(store, settings, publisher=publisher)


def store_at(redis_url: str, now_us: NowUs | None = None) -> RedisCircuitStore:
    return RedisCircuitStore(redis_url, "c", timeout_seconds=STORE_SECONDS, now_us=now_us)


@pytest.mark.parametrize(
    "moment", ["before the script", "after the script", "while publishing", "after publishing"]
)
async def test_alert_of_killed_instance_is_delivered(
    redis_url: str, topic: Topic, moment: str
) -> None:
    """C4: an alert survives `kill -9` at each critical moment, with the same id.

    The survivor's clock is ahead, so that the lease of the killed instance has expired. A lease
    short enough for waiting would be too short for publishing on a busy machine.
    """
    if moment == "while publishing":
        topic.slow.clear()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(OPENER)), stdin=asyncio.subprocess.PIPE
    )
    orders = {"url": redis_url, "endpoint": topic.endpoint, "key": KEY, "die": moment}
    ended = asyncio.create_task(process.communicate(json.dumps(orders).encode()))
    if moment == "while publishing":  # the topic has the event but has not answered
        async with asyncio.timeout(HANG_SECONDS):
            await topic.reached.wait()
        process.kill()
    await ended
    assert process.returncode == -signal.SIGKILL
    topic.slow.set()
    reached_before = len(topic.events)
    later = 2 * SETTINGS.alert_lease_seconds
    async with breaker_at(redis_url, topic, later=later) as survivor:
        await survivor.record_failure("second", "boom", Permit(0))
        async with asyncio.timeout(HANG_SECONDS):
            while len(topic.events) <= reached_before:
                await survivor.deliver_alerts()
                await asyncio.sleep(0.05)
        assert await survivor.deliver_alerts() == 0
        assert [entry.event for entry in await survivor.history()] == ["opened"]
    assert {event["id"] for event in topic.events} == {"c:1:opened"}
    assert len(topic.events) == (2 if moment in {"while publishing", "after publishing"} else 1)


async def test_topic_receives_cloud_event_with_alert_data(redis_url: str, topic: Topic) -> None:
    """The topic receives a CloudEvent with the data for workflow and operator."""
    async with breaker_at(redis_url, topic) as breaker:
        for number in range(2):
            await breaker.record_failure(f"{number}", f"boom {number}", Permit(0))
    (event,) = topic.events
    assert event["specversion"] == "1.0"
    assert event["type"] == "breakwater.circuit.opened"
    assert event["source"] == "/breakwater/circuits/c"
    assert event["data"] == {
        "kind": "app",
        "name": "c",
        "state": "open",
        "generation": 1,
        "failures": 2,
        "successes": 0,
        "failure_threshold": 2,
        "window_seconds": 600.0,
        "errors": ["boom 1", "boom 0"],
        "reason": "2 failures within 600 s (threshold 2); last error: boom 1",
        "by": "",
        "instance": breaker.instance,
        "resume_at": None,
        "ends_as": None,
        "recovery": "manual",
        "link": "",
    }


async def test_topic_gets_all_alerts_in_order_after_outage(redis_url: str, topic: Topic) -> None:
    """After the outage, two deliverers publish each alert once, in order."""
    topic.down = True
    settings = replace(SETTINGS, half_open_permits=1)
    async with breaker_at(redis_url, topic, settings) as one:
        for number in range(2):
            await one.record_failure(f"{number}", "boom", Permit(0))
        await one.approve(1, "ann")
        await one.record_successes(1, await one.try_acquire())
        await one.isolate("ann")
        await one.close_circuit(2, "ann")
        topic.down = False
        async with breaker_at(redis_url, topic, settings) as two:
            async with asyncio.timeout(HANG_SECONDS):
                while len(topic.events) < 5:
                    await asyncio.gather(
                        one.deliver_alerts(), two.deliver_alerts(), return_exceptions=True
                    )
                    await asyncio.sleep(0.05)
    assert [event["id"] for event in topic.events] == [
        "c:1:opened",
        "c:1:half_opened",
        "c:1:closed",
        "c:2:isolated",
        "c:2:closed",
    ]


async def test_wrong_topic_key_loses_no_alert(redis_url: str, topic: Topic) -> None:
    """An alert that the topic refuses stays in the outbox."""
    publisher = EventGridPublisher(topic.endpoint, key="wrong")
    async with CircuitBreaker(store_at(redis_url), SETTINGS) as silent:
        for number in range(2):
            await silent.record_failure(f"{number}", "boom", Permit(0))
    wrong = CircuitBreaker(store_at(redis_url), SETTINGS, publisher=publisher)
    with pytest.raises(Exception, match="c:1:opened could not be published"):
        await wrong.deliver_alerts()
    await wrong.aclose()
    async with breaker_at(redis_url, topic) as right:
        assert await right.deliver_alerts() == 1
