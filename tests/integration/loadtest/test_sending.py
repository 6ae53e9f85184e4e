"""The producer process on a real Event Hubs endpoint."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from loadtest.plan.settings import Scenario
from loadtest.plan.workload import Workload
from loadtest.send.process import Sending
from loadtest.send.producer import Order
from tests.support.patience import HANG_SECONDS

if TYPE_CHECKING:
    from tests.conftest import EventHubsEndpoint

WORKLOAD = Workload(Scenario.SEED, events=1_210, keys=11, poison_every=0, seed=0)


def order(endpoint: EventHubsEndpoint, run: str, hub: str = "", **options: Any) -> Order:
    return Order(
        connection=endpoint.connection_string,
        event_hub=hub or endpoint.hub,
        run=run,
        events_per_batch=20,
        rate_per_second=0.0,
        workload=WORKLOAD,
        **options,
    )


async def received(endpoint: EventHubsEndpoint, run: str, count: int) -> list[EventData]:
    """Return the run's events, in order within each partition."""
    events: list[EventData] = []
    done = asyncio.Event()

    async def take(_: PartitionContext, batch: list[EventData]) -> None:
        events.extend(each for each in batch if (each.properties or {}).get(b"run") == run.encode())
        if len(events) >= count:
            done.set()

    client = EventHubConsumerClient.from_connection_string(
        endpoint.connection_string,
        "$Default",
        eventhub_name=endpoint.hub,
        load_balancing_interval=0.5,
    )
    async with client:
        receiving = asyncio.create_task(
            client.receive_batch(take, starting_position="-1", max_wait_time=0.2)
        )
        async with asyncio.timeout(HANG_SECONDS):
            await done.wait()
    await receiving
    return events


async def test_all_events_arrive_in_order_per_key(event_hubs: EventHubsEndpoint) -> None:
    async with Sending(order(event_hubs, "sending-1")) as sending:
        async with asyncio.timeout(HANG_SECONDS):
            while not sending.progress.over:
                await asyncio.sleep(0.05)
    progress = sending.progress
    assert progress.error is None
    assert progress.acknowledged == WORKLOAD.events
    assert progress.seconds > 0
    counters: dict[str, list[int]] = {}
    faulty: dict[str, dict[int, str]] = {}
    for data in await received(event_hubs, "sending-1", WORKLOAD.events):
        body, properties = json.loads(data.body_as_str()), data.properties or {}
        key, counter = body["key"], body["counter"]
        assert data.partition_key == key.encode()
        assert (properties[b"key"], properties[b"counter"]) == (key.encode(), counter)
        counters.setdefault(key, []).append(counter)
        if simulate := properties.get(b"simulate"):
            faulty.setdefault(key, {})[counter] = simulate.decode()
    assert counters == {key: list(range(1, 111)) for key in WORKLOAD.key_names}
    assert faulty == {key: {100: "error"} for key in WORKLOAD.key_names}


async def test_missing_hub_is_reported(event_hubs: EventHubsEndpoint) -> None:
    async with Sending(order(event_hubs, "sending-2", hub="nowhere", retry_total=0)) as sending:
        async with asyncio.timeout(HANG_SECONDS):
            while not sending.progress.over:
                await asyncio.sleep(0.05)
    assert sending.progress.error is not None
    assert "NotFound" in sending.progress.error
    assert sending.progress.acknowledged == 0


async def test_leaving_the_context_ends_the_process(event_hubs: EventHubsEndpoint) -> None:
    async with Sending(order(event_hubs, "sending-3")) as sending:
        assert sending._process is not None
        process = psutil.Process(sending._process.pid)
    assert not process.is_running()
    assert sending.progress.over


def test_producer_ends_with_its_parent(event_hubs: EventHubsEndpoint) -> None:
    """The end of standard input means that the parent has ended."""
    slow = order(event_hubs, "sending-4")
    slow = Order(**{**vars(slow), "rate_per_second": 10.0})
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtest.send.producer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(slow.to_json().encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["acknowledged"] == 20
        process.send_signal(signal.SIGINT)  # ignored, because the parent handles Ctrl-C
        process.stdin.close()
        assert process.wait(HANG_SECONDS) == 1
