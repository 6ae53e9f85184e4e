"""The downstream of a scenario, on real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio

from loadtest.faults.chaos import Target
from loadtest.faults.downstream import downstream_of
from loadtest.faults.outage import dead_key
from loadtest.observe.observer import Observer, Sample
from loadtest.plan.chaos_settings import chaos_settings
from loadtest.plan.few_keys import draw_trickle
from loadtest.plan.settings import Scenario, Settings
from loadtest.target.endpoints import Endpoints
from loadtest.target.keys import Keys

KEYS = Keys("run-1", "breakwater", ("key-0", "key-1", "key-2"))
OUTAGE = KEYS.ledger("outage")


class Seen(Observer):
    """An observer that sees what the test says."""

    def __init__(self, endpoints: Endpoints) -> None:
        super().__init__(endpoints, KEYS, window_seconds=30)

    def see(self, sample: Sample) -> None:
        self.latest = sample
        self._changed.set()


@pytest.fixture
def releases() -> list[str]:
    """Return the releases of the sender."""
    return []


@pytest.fixture
def target(redis_url: str, releases: list[str]) -> Target:
    endpoints = Endpoints(
        redis_url=redis_url,
        storage_connection_string="",
        event_hub_connection="",
        event_hub_name="events",
        event_grid_topic_endpoint="",
        cloud_url="",
        management_url="",
        workflow_url="",
        poison_queue="",
        settings_file=Path(),
        console_url="",
        console_token="",
    )

    async def add_host() -> None:
        """Start no host."""

    return Target(
        endpoints, KEYS, "$Default", add_host, lambda: releases.append("released"), lambda: 0
    )


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


async def test_outage_begins_after_handled_events_and_releases_the_sender(
    target: Target, client: redis.asyncio.Redis, releases: list[str]
) -> None:
    """The sender waits for the outage, so that events are left on a slow machine too."""
    observer = Seen(target.endpoints)
    settings = Settings(scenario=Scenario.OUTAGE, events=10, keys=2, outage_after=2)
    downstream = downstream_of(settings, observer, target, print)
    task = asyncio.create_task(downstream.run())
    observer.see(Sample(handled=1))
    await asyncio.wait({task}, timeout=0)
    assert not task.done()
    assert not await client.exists(OUTAGE)
    observer.see(Sample(handled=2))
    await task
    assert downstream.over
    assert releases == ["released"]
    assert await client.exists(OUTAGE)
    await downstream.recover()
    assert not await client.exists(OUTAGE)


async def test_late_downstream_is_still_away_at_the_first_approval(
    target: Target, client: redis.asyncio.Redis
) -> None:
    early = next(seed for seed in range(99) if draw_trickle(seed, 400).approves_early)
    settings = chaos_settings({"scenario": Scenario.TRICKLE_OUTAGE, "seed": early})
    downstream = downstream_of(settings, Seen(target.endpoints), target, print)
    await client.set(OUTAGE, "1")
    await downstream.recover()
    assert await client.exists(OUTAGE)
    await downstream.recover()
    assert not await client.exists(OUTAGE)


async def test_partial_outage_hits_some_keys_and_ends_by_itself(
    target: Target, client: redis.asyncio.Redis, releases: list[str]
) -> None:
    """No approval ends the outage, because the circuit stays closed."""
    observer = Seen(target.endpoints)
    settings = chaos_settings({"scenario": Scenario.PARTIAL_OUTAGE, "events": 9, "keys": 3})
    assert settings.chaos is not None
    plan = replace(settings.chaos, down=(0, 2), down_seconds=3600)
    lasting = downstream_of(replace(settings, chaos=plan), observer, target, print)
    task = asyncio.create_task(lasting.run())
    observer.see(Sample(handled=3))
    while not await client.exists(OUTAGE):
        await asyncio.sleep(0)
    assert await client.get(OUTAGE) == "keys:\nkey-0\nkey-2\n"
    task.cancel()
    await asyncio.wait({task})
    assert not lasting.over
    plan = replace(plan, down_seconds=0)
    ending = downstream_of(replace(settings, chaos=plan), observer, target, print)
    await ending.run()
    assert ending.over
    assert releases[-1] == "released"
    assert not await client.exists(OUTAGE)


async def test_outage_of_a_dependency_ends_by_itself(
    target: Target, client: redis.asyncio.Redis
) -> None:
    settings = chaos_settings({"scenario": Scenario.TWO_DEPENDENCIES, "events": 9, "keys": 3})
    assert settings.chaos is not None
    observer = Seen(target.endpoints)
    plan = replace(settings.chaos, down_seconds=3600)
    lasting = downstream_of(replace(settings, chaos=plan), observer, target, print)
    task = asyncio.create_task(lasting.run())
    observer.see(Sample(handled=1))
    while not await client.exists(OUTAGE):
        await asyncio.sleep(0)
    assert await client.get(OUTAGE) == "needs:\nbank\n"
    task.cancel()
    await asyncio.wait({task})
    plan = replace(plan, down_seconds=0)
    ending = downstream_of(replace(settings, chaos=plan), observer, target, print)
    await ending.run()
    assert ending.over
    assert not await client.exists(OUTAGE)


async def test_second_act_begins_when_the_first_is_over(
    target: Target, client: redis.asyncio.Redis
) -> None:
    """The bank comes back when its circuit has opened."""
    observer = Seen(target.endpoints)
    settings = Settings(events=100, keys=2, outage_after=2, second_act=True)
    lines: list[str] = []
    downstream = downstream_of(settings, observer, target, lines.append)
    task = asyncio.create_task(downstream.run())
    observer.see(Sample(handled=2))
    while not await client.exists(OUTAGE):
        await asyncio.sleep(0)
    assert await client.get(OUTAGE) == "1"
    await downstream.recover()
    for handled, state in ((64, "closed"), (65, "half_open")):
        observer.see(Sample(handled=handled, generation=1, state=state))
        await asyncio.wait({task}, timeout=0)
        assert not await client.exists(OUTAGE)
    observer.see(Sample(handled=65, generation=1))
    while not await client.exists(OUTAGE):
        await asyncio.sleep(0)
    assert await client.get(OUTAGE) == "needs:\nbank\n"
    observer.see(Sample(handled=65, generation=1, dependencies={"bank": "open"}))
    await task
    assert downstream.over
    assert not await client.exists(OUTAGE)
    assert [act.title for act in downstream.acts] == [
        "the downstream is away for all keys",
        "the bank is away for some keys",
    ]
    assert len(lines) == 2


async def test_dead_key_heals_after_all_events_of_the_other_keys(
    target: Target, client: redis.asyncio.Redis
) -> None:
    """The dead key is deferred, so that its partition continues, too."""
    observer = Seen(target.endpoints)
    settings = chaos_settings(
        {"scenario": Scenario.DEAD_KEY, "events": 6, "keys": 3, "outage_after": 2}
    )
    downstream = downstream_of(settings, observer, target, print)
    task = asyncio.create_task(downstream.run())
    for index, partition in enumerate("001"):
        await client.rpush(KEYS.ledger(f"key:key-{index}"), f"1 {partition} 1 1 1")
    observer.see(Sample(handled=3))
    while not await client.exists(OUTAGE):
        await asyncio.sleep(0)
    await downstream.recover()
    assert await client.get(OUTAGE) == "first"
    await client.set(OUTAGE, KEYS.ledger("key:key-0"))  # as the ledger does at the first call
    await downstream.recover()
    assert await dead_key(target.endpoints, KEYS) == "key-0", "a second approval changes nothing"
    observer.see(Sample(handled=3, state="closed", generation=1))
    await asyncio.wait({task}, timeout=0)
    assert await client.exists(OUTAGE), "key-1 and key-2 have an unhandled event"
    await client.rpush(KEYS.ledger("key:key-2"), "2 1 2 1 1")
    await client.rpush(KEYS.ledger("key:key-1"), "2 0 2 1 1")
    await task
    assert downstream.over
    assert downstream.problem is None
    assert not await client.exists(OUTAGE)


async def test_dead_key_heals_when_the_approvals_fail(
    target: Target, client: redis.asyncio.Redis
) -> None:
    """The run then ends, and the verifier reports the openings."""
    observer = Seen(target.endpoints)
    settings = chaos_settings({"scenario": Scenario.DEAD_KEY, "events": 6, "keys": 3})
    downstream = downstream_of(settings, observer, target, print)
    task = asyncio.create_task(downstream.run())
    observer.see(Sample(handled=6))
    while not await client.exists(OUTAGE):
        await asyncio.sleep(0)
    observer.see(Sample(handled=6, state="open", generation=3))
    await task
    assert downstream.over
    assert not await client.exists(OUTAGE)
