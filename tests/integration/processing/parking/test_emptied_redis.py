"""An emptied Redis is noticed, and a rewind to the mark brings its parked events back.

The test uses real Redis, real blobs and a real hub.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext
from azure.storage.blob.aio import ContainerClient
from redis.asyncio import Redis

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from processing.batch.processor import BatchProcessor
from processing.errors import (
    DependencyUnavailableError,
    OwnershipLostError,
    ParkedEventsLostError,
)
from processing.event import Event, EventBatch
from processing.handlers.loading import LoadedHandler
from processing.identity import Identity, Source
from processing.parking.batch import Parking
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import ParkedEvent, position_of
from processing.parking.mark_blobs import MarkBlobs
from processing.parking.partition_marks import PartitionMarks
from processing.parking.redis import RedisParkingStore
from processing.parking.store import Claim
from processing.partitions.checkpoints import CONTAINER, Checkpoint, HostCheckpoints
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark
from processing.settings import ProcessingSettings
from tests.conftest import EventHubsEndpoint
from tests.support.forked import run_module_async
from tests.support.local.event_hubs_trigger import Trigger, event_hubs_trigger
from tests.support.local.functions_host import clean_environment
from tests.support.patience import HANG_SECONDS

EVENTS = 60
KEYS = 7


@dataclass
class Site:
    """A hub with events, and the stores of an app that reads the hub."""

    trigger: Trigger
    identity: Identity
    redis: Redis
    parking: RedisParkingStore
    progress: RedisProgressStore
    blobs: MarkBlobs
    checkpoints: HostCheckpoints
    settings_file: Path

    def source(self, partition: str) -> Source:
        return Source(self.identity, partition)

    def instance(self) -> PartitionMarks:
        return PartitionMarks(self.blobs, self.parking)

    def event(self, number: int, partition: str = "0") -> Event:
        return Event(
            body=str(number).encode(),
            key=f"k{number % KEYS}",
            properties={},
            source=self.source(partition),
            sequence_number=number,
            offset=str(number),
            enqueued_ms=1_700_000_000_000 + number,
        )

    async def claim(self, instance: PartitionMarks, partition: str = "0") -> Claim:
        claim = await self.parking.claim(self.source(partition))
        await instance.check(self.source(partition), claim)
        return claim

    async def defer(self, instance: PartitionMarks, claim: Claim, each: Event) -> None:
        writing = await instance.writing_as(each.source, claim, each)
        await self.parking.defer(
            writing,
            each.source,
            each.key,
            (position_of(each), ParkedEvent(each).to_json()),
            deferral=Deferral(DeferralReason.DEPENDENCY),
            pause_seconds=1.0,
        )

    async def rewind(self, *arguments: str) -> CompletedProcess[str]:
        return await run_module_async(
            *("processing", "rewind", *arguments, "--settings", str(self.settings_file)),
            environment=clean_environment(),
        )

    async def delivered(self, partition: str = "0") -> list[int]:
        """Return the sequence numbers that the host would deliver from its checkpoint on."""
        checkpoint = await self.checkpoints.read(partition)
        assert checkpoint is not None
        found: list[int] = []
        all_received = asyncio.Event()

        async def on_batch(_context: PartitionContext, events: Sequence[EventData]) -> None:
            found.extend(int(each.sequence_number or 0) for each in events)
            if found and found[-1] == EVENTS - 1:
                all_received.set()

        client = EventHubConsumerClient.from_connection_string(
            self.trigger.endpoint.connection_string,
            consumer_group="$Default",
            eventhub_name=self.trigger.hub,
        )
        async with client:
            receiving = asyncio.create_task(
                client.receive_batch(
                    on_batch,
                    partition_id=partition,
                    starting_position=checkpoint.offset,
                )
            )
            await asyncio.wait_for(all_received.wait(), HANG_SECONDS)
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
        return found


@pytest.fixture
async def site(
    redis_url: str, azurite: str, event_hubs: EventHubsEndpoint, tmp_path: Path
) -> AsyncIterator[Site]:
    run = secrets.token_hex(4)
    with event_hubs_trigger(event_hubs, azurite, tmp_path, partitions=2) as trigger:
        for partition in ("0", "1"):
            trigger.send(*(f"{number}" for number in range(EVENTS)), partition=partition)
        file = tmp_path / "settings.json"
        values = {
            "AzureWebJobsStorage": azurite,
            "EventHubConnection": event_hubs.connection_string,
            "EVENT_HUB_NAME": trigger.hub,
            "POISON_QUEUE": f"poison-{run}",
            "REDIS_URL": redis_url,
        }
        file.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
        namespace = trigger.folder.partition("/")[0]
        identity = Identity(namespace, trigger.hub, "$Default")
        async with AsyncExitStack() as opened:
            client = await opened.enter_async_context(Redis.from_url(redis_url))

            async def container(name: str) -> ContainerClient:
                return await opened.enter_async_context(
                    ContainerClient.from_connection_string(azurite, name)
                )

            yield Site(
                trigger,
                identity,
                client,
                RedisParkingStore(client, most=1000, ttl_seconds=600, identity=identity),
                RedisProgressStore(client, ttl_seconds=600),
                MarkBlobs(await container(f"poison-{run}")),
                HostCheckpoints(
                    await container(CONTAINER),
                    namespace=namespace,
                    hub=trigger.hub,
                    group="$Default",
                ),
                file,
            )


async def test_rewind_to_the_mark_brings_back_the_events_of_an_emptied_redis(site: Site) -> None:
    """The host delivers again exactly the events from the oldest parked event on."""
    instance = site.instance()
    claim = await site.claim(instance)
    for number in (23, 30, 41):
        await site.defer(instance, claim, site.event(number))
    for partition in ("0", "1"):
        await site.checkpoints.write(partition, Checkpoint(49, "49"))
    await site.claim(instance, "1")

    await site.redis.flushall()
    # A batch that is still in flight finishes other events, and commits them to the empty server.
    now = time.time_ns() // 1_000_000  # a time after the hub's creation
    await site.progress.commit(site.source("0"), claim.owner, Mark(49, now), [])
    with pytest.raises(ParkedEventsLostError, match="rewind --to-mark"):
        await site.defer(instance, claim, site.event(50))
    for each in (instance, site.instance()):
        with pytest.raises(ParkedEventsLostError, match=r"rewind --to-mark.*begin at event 23 "):
            await site.claim(each)
    await site.claim(instance, "1")

    warned = await site.rewind("--partition", "0", "--to", "30", "--dry-run")
    assert warned.stdout.splitlines()[1].split() == ["0", "49", "30", "20"], warned.stderr
    assert "leaves out up to 7 of them" in warned.stdout
    with pytest.raises(ParkedEventsLostError):
        await site.claim(instance)

    done = await site.rewind("--to-mark", "--partition", "0")
    assert done.stdout.splitlines()[1].split() == ["0", "49", "23", "27"], done.stderr
    again = await site.rewind("--to-mark", "--partition", "0")
    assert (again.returncode, "Redis has lost no parked events" in again.stderr) == (1, True)
    assert await site.delivered() == list(range(23, EVENTS))
    claim = await site.claim(instance)
    assert claim.progress.watermark is None
    await site.defer(instance, claim, site.event(24))
    assert (await site.claim(site.instance())).events == 1


async def test_second_write_to_an_emptied_redis_does_not_hide_the_loss(site: Site) -> None:
    """Neither the missing owner nor an owner that a commit has restored lets the write in."""
    instance = site.instance()
    claim = await site.claim(instance)
    await site.defer(instance, claim, site.event(23))
    await site.redis.flushall()
    with pytest.raises(OwnershipLostError):
        await site.defer(instance, claim, site.event(24))
    await site.progress.commit(site.source("0"), claim.owner, None, [Mark(22, 1)])
    with pytest.raises(ParkedEventsLostError):
        await site.defer(instance, claim, site.event(24))


async def test_commit_to_an_emptied_redis_hides_no_loss_from_a_stale_owner(site: Site) -> None:
    """The stale owner found no mark, and its commit makes it the owner of the empty server."""
    stale, other = site.instance(), site.instance()
    old = await site.claim(stale)
    await site.defer(other, await site.claim(other), site.event(23))
    await site.redis.flushall()
    assert await site.progress.commit(site.source("0"), old.owner, Mark(50, 1), [])
    with pytest.raises(ParkedEventsLostError):
        await site.claim(stale)


async def test_lanes_and_instances_that_park_at_the_same_time_share_one_token(site: Site) -> None:
    """Every deferral of the latest owner is stored, and the mark covers all of them."""
    first, second = site.instance(), site.instance()
    old = await site.claim(first)

    async def park(number: int) -> None:
        await site.defer(first, old, site.event(number))

    tasks = [asyncio.create_task(park(number)) for number in range(20, 30)]
    new = await site.claim(second)
    await asyncio.gather(*(site.defer(second, new, site.event(number)) for number in range(10, 20)))
    refused = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(each) for each in refused} <= {type(None), OwnershipLostError}
    stored = await site.blobs.read(site.source("0"))
    summary = await site.parking.summary(site.source("0"))
    assert stored is not None
    assert (stored.mark.token, stored.mark.owner) == (summary.mark, new.owner)
    assert stored.mark.oldest.sequence_number == 10
    assert summary.events >= 10


class Bank:
    """A handler whose calls for one key fail while the dependency is down."""

    def __init__(self) -> None:
        self.down = True
        self.handled: list[int] = []

    async def __call__(self, each: Event) -> None:
        if self.down and each.key == "k3":
            raise DependencyUnavailableError("the bank is down")
        self.handled.append(each.sequence_number)


async def test_processor_holds_the_partition_until_the_rewind(site: Site) -> None:
    """Later events of the lost key do not overtake, and the rewind brings back every event."""
    bank = Bank()
    rules = BreakerSettings()
    async with AsyncExitStack() as opened:
        breaker = await opened.enter_async_context(
            CircuitBreaker(MemoryCircuitStore(rules.name), rules)
        )
        processor = BatchProcessor(
            LoadedHandler("tests:bank", bank),
            breaker=breaker,
            progress=site.progress,
            poison=MemoryPoisonQueue(),
            parking=Parking(site.parking, MemoryClaimChecks(), site.instance()),
            settings=ProcessingSettings(
                max_attempts=1, defer_after_seconds=0.0, dependency_pause_seconds=0.0
            ),
        )
        opened.callback(processor.stop)

        async def process(numbers: range) -> None:
            events = [site.event(number) for number in numbers]
            await processor.process(EventBatch(site.source("0"), events))

        await process(range(20))
        await process(range(20, 40))
        await site.checkpoints.write("0", Checkpoint(39, "39"))
        deferred = [number for number in range(40) if number % KEYS == 3]
        assert sorted(bank.handled) == sorted(set(range(40)) - set(deferred))
        summary = await site.parking.summary(site.source("0"))
        assert (summary.deferred, summary.events) == (1, len(deferred))

        await site.redis.flushall()
        bank.down = False
        before = len(bank.handled)
        for _ in range(2):
            with pytest.raises(ParkedEventsLostError, match=r"rewind --to-mark.* at event 0 "):
                await process(range(40, EVENTS))
        assert len(bank.handled) == before

        done = await site.rewind("--to-mark", "--all")
        assert done.returncode == 0, done.stderr
        delivered = await site.delivered()
        await process(range(delivered[0], EVENTS))
        assert set(bank.handled) == set(range(EVENTS))
        of_key = [number for number in bank.handled if number % KEYS == 3]
        assert of_key == list(range(3, EVENTS, KEYS))
