"""Unusual bodies and keys arrive unchanged, or in the poison queue with all fields."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from azure.eventhub import EventData, EventDataBatch
from azure.eventhub.aio import EventHubProducerClient

from loadtest.plan.settings import Scenario, Settings
from loadtest.target.endpoints import Endpoints
from loadtest.target.stack import Stack
from loadtest.verify.poison_queue import read_poison_queue

RUN = "awkward"
KEYS: dict[str, str | None] = {"keyless": None, "non-ascii": "schlüssel-鍵-🔑", "128": "k" * 128}
SYSTEM = {"content-type": "avro/binary+1", "correlation-id": "corr-1", "message-id": "msg-1"}
BODIES = {
    "empty": b"",
    "not-json": b'{"half": ',
    "not-utf8": bytes(range(256)),
    "utf16": "ö".encode("utf-16"),
    "zeros": bytes(1000),
    "json-null": b"null",
}


def event(name: str, body: bytes, **properties: Any) -> EventData:
    data = EventData(body)
    carried: dict[str | bytes, Any] = {"id": name, "run": RUN}
    carried.update(properties)
    data.properties = carried
    data.content_type, data.correlation_id, data.message_id = SYSTEM.values()
    return data


async def largest(client: EventHubProducerClient, key: str, name: str) -> bytes:
    """Return the largest body that the SDK accepts in a batch, which is 1 MB less overhead."""
    limit = (await client.create_batch(partition_key=key)).max_size_in_bytes
    fits, fails = 0, limit
    while fails - fits > 1:
        size = (fits + fails) // 2
        try:
            EventDataBatch(max_size_in_bytes=limit, partition_key=key).add(
                event(name, bytes(size), poison=True)
            )
        except ValueError:
            fails = size
        else:
            fits = size
    assert fits > 1_000_000
    return secrets.token_bytes(fits)


async def send_all(endpoints: Endpoints) -> tuple[dict[str, Any], dict[str, Any]]:
    """Send all events; return name → (body, key) of the kept and of the poisoned events."""
    kept: dict[str, Any] = {}
    poisoned: dict[str, Any] = {}
    client = EventHubProducerClient.from_connection_string(
        endpoints.event_hub_connection, eventhub_name=endpoints.event_hub_name
    )
    async with client:
        bodies = {**BODIES, "1MB": await largest(client, "k" * 128, "128/1MB/poison")}
        for key_name, key in KEYS.items():
            for body_name, body in bodies.items():
                name = f"{key_name}/{body_name}"
                for data in (event(name, body), event(f"{name}/poison", body, poison=True)):
                    batch = await client.create_batch(partition_key=key)
                    batch.add(data)
                    await client.send_batch(batch)
                kept[name] = poisoned[f"{name}/poison"] = (body, key)
        bare = await client.create_batch()
        bare.add(EventData(b"no properties"))
        await client.send_batch(bare)
        kept["none"] = (b"no properties", None)
    return kept, poisoned


async def kept_so_far(endpoints: Endpoints) -> list[Mapping[str, Any]]:
    async with redis.asyncio.Redis.from_url(endpoints.redis_url) as client:
        return [json.loads(text) for text in await client.lrange("kept", 0, -1)]


@pytest.mark.long
async def test_each_arrives_unchanged_or_is_poisoned_whole(tmp_path: Path) -> None:
    settings = Settings(
        scenario=Scenario.STEADY,
        console=False,
        report=tmp_path / "report.json",
        app_settings={"EVENT_HANDLER": "tests.support.handlers.keeping:keep"},
    )
    async with Stack(settings) as stack:
        endpoints = stack.endpoints
        kept, poisoned = await send_all(endpoints)
        async with asyncio.timeout(60):
            while True:
                found = await kept_so_far(endpoints)
                messages = await read_poison_queue(endpoints, RUN)
                if len(found) >= len(kept) and len(messages) >= len(poisoned):
                    break
                stack.check()
                await asyncio.sleep(0.2)
    assert len(found) == len(kept)
    assert len(messages) == len(poisoned)
    for each in found:
        body, key = kept[each["id"] or "none"]
        assert base64.b64decode(each["body"]) == body, each["id"]
        assert each["key"] == key, each["id"]
        assert each["properties"] == ({"id": each["id"], "run": RUN} if each["id"] else {})
        assert each["system_properties"] == (SYSTEM if each["id"] else {})
        assert each["event_id"].startswith("127.0.0.1/"), each["id"]
    for message in messages:
        name = message["properties"]["id"]
        body, key = poisoned[name]
        assert base64.b64decode(message["body"]) == body, name
        assert message["key"] == key, name
        assert message["properties"] == {"id": name, "run": RUN, "poison": True}
        assert message["system_properties"] == SYSTEM
        assert message["attempts"] == 1
        assert message["error"]["message"] == "asked to"
        for field in ("id", "partition", "offset", "enqueued_time", "handler", "instance"):
            assert message[field], f"{name}: {field}"
