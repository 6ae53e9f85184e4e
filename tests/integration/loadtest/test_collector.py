"""The collection of evidence from real Redis and real storage."""

from __future__ import annotations

import base64
import dataclasses
import json
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient

from loadtest.target.endpoints import Endpoints
from loadtest.target.keys import Keys
from loadtest.verify.collector import (
    connect,
    read_alerts,
    read_deaths,
    read_history,
    read_ledgers,
    read_refused,
)
from loadtest.verify.evidence import LedgerEntry, RefusedCall, Transition
from loadtest.verify.poison_queue import read_poison_queue


def somewhere(*, redis_url: str = "", storage: str = "", queue: str = "") -> Endpoints:
    """Return endpoints of which the test uses only some."""
    return Endpoints(
        redis_url=redis_url,
        storage_connection_string=storage,
        event_hub_connection="",
        event_hub_name="",
        event_grid_topic_endpoint="",
        cloud_url="",
        management_url="",
        workflow_url="",
        poison_queue=queue,
        settings_file=Path(),
    )


KEYS = Keys("run[1]", "circuit-1", ("a", "b"))


def test_each_ledger_is_read_in_order_and_unknown_keys_last(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.rpush("ledger:{run[1]}:key:b", "1 0 7 100 200", "2 0 8 100 201")
        client.rpush("ledger:{run[1]}:key:stranger", "1 0 9 100 202")
        client.rpush("ledger:{run1}:key:other run", "1 0 9 100 202")
        client.sadd("ledger:{run[1]}:seen:b", "0/7/100")
    with connect(somewhere(redis_url=redis_url)) as client:
        assert list(read_ledgers(client, KEYS)) == [
            ("a", []),
            ("b", [LedgerEntry(1, "0", 7, 100, 200), LedgerEntry(2, "0", 8, 100, 201)]),
            ("stranger", [LedgerEntry(1, "0", 9, 100, 202)]),
        ]


def test_refused_calls_and_history_are_those_of_this_run(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.rpush("ledger:{run[1]}:refused", "a\t7\t3\t41\t1800")
        for generation, at_us in ((1, 10), (2, 20)):
            fields: dict[Any, Any] = {
                "event": "opened",
                "generation": generation,
                "by": "",
                "at_us": at_us,
                "reason": "count",
                "instance": "host:1",
            }
            client.xadd("breaker:{circuit-1}:history", fields)
    with connect(somewhere(redis_url=redis_url)) as client:
        assert read_refused(client, KEYS) == [RefusedCall("a", 7, "3", 41, 1800)]
        assert read_history(client, KEYS, after_generation=1) == [Transition("opened", 2, 20)]


def test_history_of_a_dependency_and_deaths_are_read(redis_url: str) -> None:
    """The circuits of the app and of its dependencies share a slot, and have keys of their own."""
    with redis.Redis.from_url(redis_url) as client:
        fields: dict[Any, Any] = {"event": "closed", "generation": 1, "by": "timer", "at_us": 7}
        client.xadd("breaker:{circuit-1}/bank:history", fields)
        client.set("ledger:{run[1]}:deaths", 3)
    with connect(somewhere(redis_url=redis_url)) as client:
        found = read_history(client, KEYS, 0, "bank")
        assert found == [Transition("closed", 1, 7, "timer")]
        assert read_history(client, KEYS, 0) == read_history(client, KEYS, 0, "mail") == []
        assert read_deaths(client, KEYS) == 3
        assert read_deaths(client, replace(KEYS, run="run-2")) == 0


def document(run: str, counter: int, **changes: Any) -> dict[str, Any]:
    return {
        "properties": {"run": run, "key": "a", "counter": counter},
        "claim_check": None,
        **changes,
    }


@pytest.fixture
def queue_name() -> str:
    return f"poison-{secrets.token_hex(4)}"


async def test_every_message_is_read_and_made_visible_again(azurite: str, queue_name: str) -> None:
    async with (
        QueueClient.from_connection_string(
            azurite, queue_name, message_encode_policy=TextBase64EncodePolicy()
        ) as queue,
        ContainerClient.from_connection_string(azurite, queue_name) as container,
    ):
        await queue.create_queue()
        await container.create_container()
        for counter in range(70):
            await queue.send_message(json.dumps(document("mine", counter)))
        await queue.send_message(json.dumps(document("another's", 1)))
        await queue.send_message("not JSON")
        body = base64.b64encode(secrets.token_bytes(100_000)).decode()
        whole = document("mine", 70, body=body)
        await container.upload_blob("large/70", json.dumps(whole))
        claim = {"container": queue_name, "blob": "large/70"}
        await queue.send_message(json.dumps({"properties": {}, "body": None, "claim_check": claim}))
        for _ in range(2):
            found = await read_poison_queue(somewhere(storage=azurite, queue=queue_name), "mine")
            counters = [each["properties"]["counter"] for each in found]
            assert sorted(counters) == list(range(71)), "both reads return every message"
        assert body in [each.get("body") for each in found]
        peeked = await queue.peek_messages(32)
        assert len(peeked) == 32, "visible again"


async def test_messages_that_another_reader_holds_are_waited_for(
    azurite: str, queue_name: str
) -> None:
    """A console that shows the queue holds messages for a moment."""
    async with QueueClient.from_connection_string(
        azurite, queue_name, message_encode_policy=TextBase64EncodePolicy()
    ) as queue:
        await queue.create_queue()
        for counter in range(3):
            await queue.send_message(json.dumps(document("mine", counter)))
        held = await queue.receive_message(visibility_timeout=1)
        assert held is not None
        found = await read_poison_queue(somewhere(storage=azurite, queue=queue_name), "mine")
    assert sorted(each["properties"]["counter"] for each in found) == [0, 1, 2]


async def test_missing_queue_is_empty(azurite: str, queue_name: str) -> None:
    assert await read_poison_queue(somewhere(storage=azurite, queue=queue_name), "mine") == []


async def test_alert_is_accepted_once_it_has_left_the_outbox(redis_url: str) -> None:
    """The alert of generation 2 is still in the outbox; a closing is no opening alert."""
    with redis.Redis.from_url(redis_url) as client:
        for event, generation in (("opened", 1), ("closed", 1), ("opened", 2)):
            fields = {"event": event, "generation": generation, "at_us": 5}
            client.xadd("breaker:{circuit-1}:history", fields)
        client.xadd("breaker:{circuit-1}:outbox", {"event": "opened", "generation": 2})
    azure = dataclasses.replace(somewhere(redis_url=redis_url), deployed_settings={})
    assert [alert.id for alert in await read_alerts(azure, KEYS, 0)] == ["circuit-1:1:opened"]
    assert await read_alerts(azure, KEYS, 1) == []
