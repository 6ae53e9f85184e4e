"""The console on a real stack: poison queue, parked keys, redrive, partitions and live tail."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection

from console.composition import compose
from console.settings import ConsoleSettings
from processing.event import Event, EventBatch
from processing.identity import Identity, Source
from processing.monitoring.redis_vitals import RedisVitals
from processing.parts import Parts
from tests.support.console.server import TOKEN, Browser, Served, next_items, resume, serving
from tests.support.event_hubs.sdk_leaks import sdk_leaks_collected
from tests.support.patience import HANG_SECONDS, STORE_SECONDS

XSS = "<script>alert(1)</script>"
RECORD = json.dumps({"handled": 10, "latency": {"10": 10}, "holding": 0.5})


@dataclass
class Site:
    """The function app's settings, and event processing in this process."""

    values: dict[str, str]
    run: str
    next: int = 0

    async def process(self, *events: tuple[str, bytes, dict[str, Any]]) -> None:
        """Process a batch of events (key, body, properties) as an instance of the app does."""
        batch = []
        source = Source(Identity("127.0.0.1", "events", f"group-{self.run}"), "0")
        for key, body, properties in events:
            self.next += 1
            batch.append(
                Event(
                    body=body,
                    key=key,
                    properties={"run": self.run, "counter": self.next} | properties,
                    source=source,
                    sequence_number=self.next,
                    offset=str(self.next),
                    enqueued_ms=1_700_000_000_000 + self.next,
                )
            )
        parts = await Parts.build(self.values)
        try:
            await parts.processor.process(EventBatch(source, batch))
        finally:
            await parts.closing.aclose()

    async def repair(self) -> None:
        """Make the handler accept the events that it refused."""
        async with Redis.from_url(self.values["REDIS_URL"]) as client:
            await client.set(f"repaired:{self.run}", "1", ex=600)

    async def release(self) -> None:
        """Make the handler finish the event that it holds."""
        async with Redis.from_url(self.values["REDIS_URL"]) as client:
            await client.set(f"released:{self.run}", "1", ex=600)

    @asynccontextmanager
    async def console(self, **settings: Any) -> AsyncIterator[Served]:
        """Serve one instance of the console."""
        own = ConsoleSettings(token=TOKEN, lease_seconds=10, **settings)
        async with serving(compose(self.values, own), own) as served:
            yield served


@pytest.fixture(autouse=True)
def sdk_leaks() -> Iterator[None]:
    """Collect leaks of the SDK: a page may close while the tail is connecting."""
    with sdk_leaks_collected():
        yield


@pytest.fixture
def site(stack: dict[str, Any]) -> Site:
    run = secrets.token_hex(4)
    values: dict[str, str] = json.loads(Path(stack["settings_file"]).read_text())["Values"]
    return Site(
        values
        | {
            "EVENT_HUB_CONSUMER_GROUP": f"group-{run}",
            "POISON_QUEUE": f"poison-{run}",
            "EVENT_HANDLER": "tests.support.handlers.repairable:RepairableLedger",
            "PROCESSING_POISON_ORDERING": "park",
            "PROCESSING_MAX_ATTEMPTS": "1",
            "BREAKER_NAME": f"c{run}",
            "BREAKER_COUNT_POISON": "false",
            "BREAKER_STORE_TIMEOUT_SECONDS": f"{STORE_SECONDS}",
        },
        run,
    )


async def test_operator_finds_and_redrives_events(site: Site) -> None:
    """A page on another instance sees the redrive's progress."""
    broken = {"broken": True}
    one, other = f"K-{site.run}", f"L-{site.run}"
    await site.process(
        (one, b"\xff\x00not text", broken),
        (one, b"behind", {}),
        (other, XSS.encode(), broken),
        (f"M-{site.run}", b"fine", {}),
    )
    async with site.console() as here, site.console() as there:
        ann, bob = await here.browser("ann"), await there.browser("bob")
        async with bob.live() as live:
            await resume(live)
            found = (await ann.client.get("/api/poison")).json()
            assert [row["key"] for row in found["messages"]] == [one, other]
            assert found["after"] is None
            row = found["messages"][0]
            assert row["error"]["type"].endswith("PoisonEventError")
            assert (row["parked"], row["attempts"], row["size"]) == (True, 1, 10)

            query = await ann.client.get("/api/poison", params={"query": "SCRIPT>alert"})
            (only,) = query.json()["messages"]
            assert only["preview"] == XSS
            assert query.headers["content-type"] == "application/json"
            whole = (await ann.client.get(f"/api/poison/{row['id']}")).json()
            assert whole["body"] == {
                "preview": "ff 00 6e 6f 74 20 74 65 78 74",
                "encoding": "hex",
                "bytes": 10,
                "truncated": False,
                "lost": "",
            }
            assert "broken until it is repaired" in whole["error"]["traceback"]
            assert json.loads(whole["properties"])["broken"] is True
            assert (await ann.client.get("/api/poison/none")).status_code == 404
            parked = (await ann.client.get("/api/parked")).json()["keys"]
            (key,) = (each for each in parked if each["key"] == one)
            assert (key["count"], key["partition"]) == (2, "0")
            assert "broken until it is repaired" in key["error"]

            await site.repair()
            answer = await ann.client.post("/api/redrive", json={"id": row["id"]}, headers=ann.act)
            assert answer.status_code == 202
            job = answer.json()["job"]
            ended = await redriven(live, job)
            assert (ended["replayed"], ended["left"], ended["failed"]) == (2, 0, 0)
            assert (ended["by"], ended["selection"]) == ("ann", {"id": row["id"]})
            assert await keys(bob) == [other]

            answer = await bob.client.post("/api/redrive", json={"key": other}, headers=bob.act)
            assert (await redriven(live, answer.json()["job"]))["replayed"] == 1
            assert await keys(ann) == []


async def redriven(live: ClientConnection, job: str) -> dict[str, Any]:
    """Wait for a job's final message and return the message."""
    while True:
        (item,) = await next_items(live, "redrive", 1)
        data: dict[str, Any] = item["data"]
        if data["job"] == job and data["done"]:
            return data


async def keys(browser: Browser) -> list[str]:
    found = (await browser.client.get("/api/poison")).json()["messages"]
    return [message["key"] for message in found]


async def test_one_redrive_at_a_time(site: Site) -> None:
    """A second redrive is refused on every instance, and so is an invalid selection."""
    key = f"K-{site.run}"
    await site.process((key, b"x", {"broken": True, "held": True}))
    await site.repair()
    async with site.console() as here, site.console() as there:
        ann, bob = await here.browser("ann"), await there.browser("bob")
        for selection in ({}, {"all": False}, {"id": "x", "key": "y"}, {"key": 5}, {"id": ""}):
            answer = await ann.client.post("/api/redrive", json=selection, headers=ann.act)
            assert answer.status_code == 400, selection
        async with bob.live() as live:
            await resume(live)
            answer = await ann.client.post("/api/redrive", json={"key": key}, headers=ann.act)
            assert answer.status_code == 202
            other = await bob.client.post("/api/redrive", json={"all": True}, headers=bob.act)
            assert other.status_code == 409
            refusal = other.json()["error"]  # it names the operator once the record is written
            assert re.fullmatch("another redrive is running(: ann .*)?; wait until .*", refusal)
            await site.release()
            lines = [item["data"] for item in await next_items(live, "log", 2)]
            assert [(line["kind"], line["by"]) for line in lines] == [("redrive", "ann")] * 2
            assert lines[0]["text"] == f"redrives key {key}"
            assert lines[1]["text"] == f"redrive of key {key}: 1 handled, 0 failed again, 0 left"


async def test_one_instance_reads_the_hub_for_all(site: Site) -> None:
    """Partitions, tail and vitals reach a page on another instance.

    When another instance becomes the reader, each second's vitals are still counted once.
    """
    name = site.values["BREAKER_NAME"]
    async with Redis.from_url(site.values["REDIS_URL"]) as client, AsyncExitStack() as lasting:
        vitals = RedisVitals(client, name, "host:1")
        async with site.console():
            reader = await elected(client, name)
            there = await lasting.enter_async_context(site.console())
            live = await lasting.enter_async_context((await there.browser("bob")).live())
            await resume(live)
            await live.send('{"type":"tail","on":true}')
            table = (await next_items(live, "partitions", 1))[0]["data"]
            assert [row["partition"] for row in table["rows"]] == ["0", "1", "2", "3"]
            assert table["problem"] is None
            enough = asyncio.Event()
            sending = asyncio.create_task(send_until(enough, site))
            samples = [item["data"] for item in await next_items(live, "tail", 3)]
            assert {sample["preview"] for sample in samples} == {XSS}
            assert {sample["key"] for sample in samples} <= {"a", "b", "c"}
            enough.set()
            await sending
            rows = [await vital_row(live, vitals)]
            assert (rows[0]["instances"], rows[0]["holding"]) == (1, 0.5)
            assert rows[0]["poison_count"] == 0
            for _ in range(3):
                await vitals.write(RECORD)
        assert await elected(client, name) != reader
        while sum(row["handled"] for row in rows) < 40 or rows[-1]["handled"]:
            rows += [item["data"] for item in await next_items(live, "vitals", 1)]
        assert sum(row["handled"] for row in rows) == 40


async def vital_row(live: ClientConnection, vitals: RedisVitals) -> dict[str, Any]:
    """Write a record and return the row of vitals that includes the record."""
    await vitals.write(RECORD)
    while True:
        (item,) = await next_items(live, "vitals", 1)
        row: dict[str, Any] = item["data"]
        if row["handled"]:
            return row


async def elected(client: Any, name: str) -> bytes:
    """Return the token of the elected reader."""
    async with asyncio.timeout(HANG_SECONDS):
        while (
            not (keys := await client.keys(f"console:{{{name}/*}}:reader"))
            or (reader := await client.get(keys[0])) is None
        ):
            await asyncio.sleep(0.05)
    return bytes(reader)


async def send_until(enough: asyncio.Event, site: Site) -> None:
    """Send events for the tail, which begins at the end of the stream once connected.

    An event ends the loop instead of a cancellation, because a cancelled SDK leaks a connection.
    """
    producer = EventHubProducerClient.from_connection_string(
        site.values["EventHubConnection"], eventhub_name=site.values["EVENT_HUB_NAME"]
    )
    async with producer:
        while not enough.is_set():
            for key in "abc":
                await producer.send_batch([EventData(XSS)], partition_key=key)
            await asyncio.sleep(0.1)


@pytest.mark.long
async def test_operator_stops_and_starts_the_app(site: Site, stack: dict[str, Any]) -> None:
    """The stack's management carries both out, and the page on another instance sees both."""
    assert site.values["FUNCTION_APP_URL"] == stack["management_url"]
    assert site.values["BREAKER_CONSOLE_URL"] == stack["console_url"]
    async with site.console() as here, site.console() as there:
        ann, bob = await here.browser("ann"), await there.browser("bob")
        async with ann.live() as live:
            await resume(live)
            stop = {"reason": "test"}
            answer = await bob.client.post("/api/app/stop", json=stop, headers=bob.act)
            assert answer.status_code == 200, answer.text
            assert "Stop asked at" in await said(live, "Stopped")
            answer = await bob.client.post("/api/app/start", json={}, headers=bob.act)
            assert answer.status_code == 200, answer.text
            assert "Start asked at" in await said(live, "Running")


async def said(live: ClientConnection, state: str) -> str:
    """Return the lines about the app once its state is `state`."""
    while True:
        (item,) = await next_items(live, "app", 1)
        if item["data"]["state"] == state:
            return "\n".join(line["text"] for line in item["data"]["lines"])
