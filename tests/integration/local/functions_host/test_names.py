"""Hosts that spell hub and consumer group differently are hosts of the same hub and group."""

from __future__ import annotations

import asyncio
from collections import Counter

from azure.eventhub import EventData

from tests.support.event_hubs.client_helpers import producer
from tests.support.local.recording_host import PATIENCE, RecordingHost, send
from tests.support.real_host import parsed


async def test_host_with_other_spelling_continues_at_the_checkpoint(
    recording_host: RecordingHost,
) -> None:
    async with producer(recording_host.server) as client:
        await send(client, EventData(b"a"))
    async with recording_host.listening(event_hub="Events", group="$default"):
        await recording_host.worker.wait(1)
        await recording_host.wait_checkpoint()
    async with producer(recording_host.server, eventhub_name="EVENTS") as client:
        await send(client, EventData(b"b"))
    async with recording_host.listening(event_hub="eVENTS", group="$DEFAULT"):
        await recording_host.worker.wait(2)
    one, other = recording_host.worker.batches
    assert parsed(one, "PartitionContext")["EventHubName"] == "Events"
    assert parsed(other, "PartitionContext")["ConsumerGroup"] == "$DEFAULT"
    sequences = [
        batch["trigger_metadata"]["SequenceNumberArray"]["value"] for batch in (one, other)
    ]
    assert sequences == [[0], [1]]
    assert {name.rsplit("/", 2)[0] for name in await recording_host.blobs()} == {
        f"127.0.0.1:{recording_host.server.port}/events/$default"
    }


async def test_hosts_with_other_spellings_share_the_partitions(
    recording_host: RecordingHost,
) -> None:
    other = RecordingHost(recording_host.server, recording_host.storage)
    async with (
        recording_host.listening(event_hub="Events", group="$default"),
        other.listening(event_hub="EVENTS", group="$Default"),
        asyncio.timeout(PATIENCE),
    ):
        while sorted(Counter(await owners(recording_host)).values()) != [2, 2]:
            await asyncio.sleep(0.05)


async def owners(host: RecordingHost) -> list[str]:
    return [
        metadata.get("ownerid", "")
        for name, metadata in (await host.blobs()).items()
        if "/ownership/" in name
    ]
