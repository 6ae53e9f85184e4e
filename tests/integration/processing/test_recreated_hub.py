"""H31: the hub is recreated while the app is stopped, and has grown past the checkpoint.

The hub, Redis and the storage are real services; the app's parts run in this process.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from processing.errors import RecreatedHubError
from processing.event import Event, EventBatch
from processing.identity import Source
from processing.operations import open_rewind
from processing.partitions.checkpoints import Checkpoint
from processing.parts import Parts
from processing.wiring import Wiring
from tests.conftest import EventHubsEndpoint
from tests.support.local.event_hubs_trigger import Trigger, event_hubs_trigger

PATIENCE = 20.0
handled: list[str] = []


async def record(event: Event) -> None:
    """Handle an event."""
    handled.append(event.body.decode())


@dataclass
class Site:
    """A hub, and the settings of an app that reads the hub."""

    trigger: Trigger
    settings: dict[str, str]

    def send(self, count: int) -> list[str]:
        bodies = [secrets.token_hex(4) for _ in range(count)]
        self.trigger.send(*bodies)
        return bodies

    def recreate(self) -> None:
        url = f"{self.trigger.endpoint.control_url}/hubs/{self.trigger.hub}"
        for answer in (httpx.delete(url), httpx.put(url, json={"partitionCount": 1})):
            assert answer.is_success, answer.text

    @asynccontextmanager
    async def app(self) -> AsyncIterator[Parts]:
        """Start the app."""
        parts = await Parts.build(self.settings)
        try:
            yield parts
        finally:
            await parts.closing.aclose()

    async def deliver(self, parts: Parts, count: int) -> None:
        """Process the events behind the checkpoint, and move the checkpoint, as the host does."""
        async with AsyncExitStack() as opened:
            wiring = Wiring(self.settings, opened)
            checkpoints, client = await wiring.checkpoints(), await wiring.hub()
            known = await checkpoints.read("0")
            offset = "-1" if known is None else known.offset
            source = Source(wiring.connections.identity, "0")
            events = [_event(each, source) for each in await _receive(client, offset, count)]
            await parts.processor.process(EventBatch(source, events))
            last = events[-1]
            await checkpoints.write("0", Checkpoint(last.sequence_number, last.offset))

    async def rewind(self) -> None:
        """Rewind the partition to the hub's first event, as the operator's command does."""
        async with open_rewind(self.settings) as rewind:
            await rewind.run((await rewind.plan(["0"], None)).steps)


async def _receive(client: EventHubConsumerClient, offset: str, count: int) -> list[EventData]:
    found: list[EventData] = []
    complete = asyncio.Event()

    async def on_event(_context: PartitionContext, event: EventData | None) -> None:
        assert event is not None
        found.append(event)
        if len(found) == count:
            complete.set()

    receiving = asyncio.create_task(
        client.receive(on_event, partition_id="0", starting_position=offset)
    )
    await asyncio.wait_for(complete.wait(), PATIENCE)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    return found[:count]


def _event(data: EventData, source: Source) -> Event:
    assert data.sequence_number is not None
    assert data.enqueued_time is not None
    return Event(
        body=data.body_as_str().encode(),
        key=data.body_as_str(),
        properties={},
        source=source,
        sequence_number=data.sequence_number,
        offset=str(data.offset),
        enqueued_ms=int(data.enqueued_time.timestamp() * 1000 + 0.5),
    )


@pytest.fixture
def site(
    redis_url: str, azurite: str, event_hubs: EventHubsEndpoint, tmp_path: Path
) -> Iterator[Site]:
    with event_hubs_trigger(event_hubs, azurite, tmp_path, partitions=1) as trigger:
        values = {
            "AzureWebJobsStorage": azurite,
            "EventHubConnection": event_hubs.connection_string,
            "EVENT_HUB_NAME": trigger.hub,
            "EVENT_HUB_CONSUMER_GROUP": "$Default",
            "EVENT_HANDLER": f"{__name__}:record",
            "POISON_QUEUE": f"poison-{secrets.token_hex(4)}",
            "REDIS_URL": redis_url,
        }
        yield Site(trigger, values)


async def test_app_that_starts_after_the_hub_was_recreated_skips_no_event(site: Site) -> None:
    """The partition holds, and is stalled by name, until the operator's command has run."""
    handled.clear()
    before = site.send(10)
    async with site.app() as parts:
        await site.deliver(parts, 10)
    site.recreate()
    after = site.send(15)
    async with site.app() as parts:
        with pytest.raises(RecreatedHubError, match=r"so events 0 to 9 are skipped.*--to-start"):
            await site.deliver(parts, 5)
        report = await parts.health.report()
    assert report.status == "stalled"
    assert "rewind --partition 0 --to-start" in str(report.problems)
    assert handled == before
    await site.rewind()
    async with site.app() as parts:
        await site.deliver(parts, 15)
        report = await parts.health.report()
    assert report.status == "ok"
    assert handled == [*before, *after]
