"""Stored data of older versions: today's app finds the data, and continues with them."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue.aio import QueueClient
from redis.asyncio import Redis

from local.services.azurite import ACCOUNT, APP_ACCOUNT
from processing.batch.result import BatchResult
from processing.errors import FormatError
from processing.event import Event
from processing.formats.keys import FORMAT
from processing.identity import Identity, Source
from processing.operations import open_migration, open_parking, open_poison, open_redrive
from processing.parking.redis import RedisParkingStore
from processing.parts import Parts
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark
from tests.support.processing.browsing import browse
from tests.support.processing.dump_formats import batch

DUMPS = Path(__file__).parents[2] / "fixtures" / "formats"
HANDLED: list[Event] = []
IDENTITY = Identity("127.0.0.1", "events", "$default")
SOURCE = Source(IDENTITY, "0")


async def record(event: Event) -> None:
    """Handle an event."""
    HANDLED.append(event)


@dataclass(slots=True)
class Restored:
    """Services with the data of an older version, and the settings of the app."""

    settings: dict[str, str]
    redis: Any
    handled: list[Event] = field(default_factory=lambda: HANDLED)

    async def process(
        self, hub: str, *events: tuple[int, str], group: str = "$DEFAULT"
    ) -> BatchResult:
        """Process a batch in a new instance of the app."""
        parts = await Parts.build(self.settings)
        try:
            each = [(number, key, "", 5) for number, key in events]
            return await parts.processor.process(batch(hub, "$DEFAULT", *each))
        finally:
            await parts.closing.aclose()

    def numbers(self, key: str) -> list[int]:
        """Return the sequence numbers of a key's handled events, in the order of their handling."""
        return [
            event.sequence_number
            for event in self.handled
            if event.key == key and event.source.hub == "events"
        ]


@asynccontextmanager
async def restored(
    version: str, redis_url: str, app_settings: Mapping[str, str]
) -> AsyncIterator[Restored]:
    """Yield services with the dump of a version; its queue and blobs are in the host's account."""
    queue = f"poison-{secrets.token_hex(4)}"
    settings = dict(app_settings) | {
        "REDIS_URL": redis_url,
        "EVENT_HUB_NAME": "Events",
        "EVENT_HUB_CONSUMER_GROUP": "$Default",
        "EVENT_HANDLER": f"{__name__}:record",
        "POISON_QUEUE": queue,
        "PROCESSING_POISON_ORDERING": "park",
        "BreakwaterStorage": "",
    }
    text = (DUMPS / f"{version}.json").read_text().replace('"poison"', f'"{queue}"')
    # Inside a document in Redis the quotes are escaped.
    found = json.loads(text.replace('\\"poison\\"', f'\\"{queue}\\"'))
    storage = settings["AzureWebJobsStorage"]
    async with (
        Redis.from_url(redis_url, decode_responses=True) as redis,
        QueueClient.from_connection_string(storage, queue) as queue_client,
        ContainerClient.from_connection_string(storage, queue) as container,
    ):
        await queue_client.create_queue()
        await container.create_container()
        for message in found["queue"]:
            text = base64.b64encode(json.dumps(message).encode()).decode()
            await queue_client.send_message(text)
        for name, content in found["blobs"].items():
            await container.upload_blob(name, json.dumps(content))
        for key, value in found["redis"].items():
            await _restore(redis, key, value)
        HANDLED.clear()
        yield Restored(settings, redis)


async def _restore(redis: Any, key: str, value: dict[str, Any]) -> None:
    match value:
        case {"hash": fields}:
            await redis.hset(key, mapping=fields)
        case {"set": members}:
            await redis.sadd(key, *members)
        case {"zset": scores}:
            await redis.zadd(key, scores)
        case {"string": text}:
            await redis.set(key, text)


@pytest.fixture
def app_settings(stack: dict[str, Any]) -> dict[str, str]:
    values: dict[str, str] = json.loads(Path(stack["settings_file"]).read_text())["Values"]
    return values


@pytest.fixture
async def old(redis_url: str, app_settings: dict[str, str]) -> AsyncIterator[Restored]:
    async with restored("0.1", redis_url, app_settings) as found:
        yield found


@pytest.fixture
async def two(redis_url: str, app_settings: dict[str, str]) -> AsyncIterator[Restored]:
    async with restored("2", redis_url, app_settings) as found:
        yield found


@pytest.fixture(params=["0.1", "0.1, then an account of its own", "2"])
async def each(
    request: pytest.FixtureRequest, redis_url: str, app_settings: dict[str, str]
) -> AsyncIterator[Restored]:
    version, _, own_account = request.param.partition(",")
    async with restored(version, redis_url, app_settings) as found:
        if own_account:
            host = found.settings["AzureWebJobsStorage"]
            found.settings["BreakwaterStorage"] = host.replace(ACCOUNT, APP_ACCOUNT)
        yield found


async def test_finished_events_are_not_handled_again(each: Restored) -> None:
    """The host delivers from its last checkpoint; all but event 8 are finished, under two names."""
    keys = ["bob", "gone", "gone", "alice", "bob", "alice", "alice", "big", "dora", "erin"]
    result = await each.process("EVENTS", *enumerate([*keys, "frank", "frank"]))
    assert [event.id for event in each.handled] == ["127.0.0.1/events/0/8/1764400000008"]
    assert (result.handled, result.skipped) == (1, 11)


async def test_parked_events_are_not_overtaken(each: Restored) -> None:
    """New events of a parked key wait; a redrive replays old and new events in order."""
    new = [(12, "alice"), (13, "frank"), (14, "gone"), (15, "big"), (16, "alice")]
    result = await each.process("eVents", *new)
    assert (result.handled, result.parked) == (1, 4)
    assert each.numbers("gone") == [14]
    async with open_redrive(each.settings) as redrive:
        summary = await redrive.run()
    assert (summary.failed, summary.left, summary.stopped) == ((), 0, "")
    assert each.numbers("alice") == [3, 5, 6, 12, 16]
    assert each.numbers("big") == [7, 15]
    assert each.numbers("frank") == [10, 11, 13]
    (large,) = [event for event in each.handled if event.sequence_number == 5]
    assert (len(large.body), large.properties["number"]) == (37_000, 5)
    assert [event.source.partition for event in each.handled if event.key is None] == ["1"]
    async with open_parking(each.settings) as parking:
        assert await parking.store.keys() == []


async def test_lists_of_format_2_are_counted_at_the_claim(two: Restored) -> None:
    """The totals are known before the first write, and an instance of format 2 stops."""
    parking = RedisParkingStore(two.redis, most=10, ttl_seconds=60, identity=IDENTITY)
    before = await parking.summary(SOURCE)
    assert (before.keys, before.deferred, before.events) == (3, 0, 6)
    claim = await parking.claim(SOURCE, ["alice", "big", "frank", "gone", "hank"])
    assert claim.parked == {"alice", "big", "frank"}
    assert claim.replayed == {"hank": "001764400000031:00000000000000000031"}
    assert (claim.events, claim.size) == (6, before.size)
    documents = [
        entry.document
        for key in await parking.keys()
        if key.source == SOURCE
        for entry in await parking.entries(SOURCE, key.key)
    ]
    assert sum(map(len, documents)) == before.size
    prefix = "breakwater:{127.0.0.1/events/$default/default/0}:"
    assert await two.redis.get(f"{prefix}format") == "3"
    assert await two.redis.zcard(f"{prefix}parking:replayed_at") == 1


async def test_replayed_events_of_format_2_are_not_handled_again(two: Restored) -> None:
    """The app may stop after a replay and before progress has recorded the events."""
    await two.redis.delete("breakwater:{127.0.0.1/events/$default/default/0}:progress:finished")
    await two.process("events", (30, "hank"), (31, "hank"), (32, "hank"))
    assert two.numbers("hank") == [32]


async def test_redriven_event_of_0_1_stays_redriven(old: Restored) -> None:
    """A copy of its message is stale, and a redelivery is skipped."""
    async with open_migration(old.settings) as migration:
        await migration.run()
    name = "breakwater:{127.0.0.1/events/$default/default/0}:parking:"
    (verdict,) = await old.redis.zrange(f"{name}verdicts", 0, -1)
    assert verdict.startswith("127.0.0.1/events/0/1/1764400000001@")
    assert await old.redis.hgetall(f"{name}replayed") == {
        "=gone": "001764400000002:00000000000000000002"
    }


async def test_migration_moves_only_data_of_the_app(old: Restored) -> None:
    """The data of another app on the same Redis stay as they are."""
    before = {key async for key in old.redis.scan_iter("*audit*")}
    async with open_migration(old.settings) as migration:
        done = await migration.run()
        assert await migration.run() == []
    assert [(each.source.partition, each.keys, each.entries) for each in done] == [
        ("0", 3, 6),
        ("1", 1, 1),
    ]
    assert {key async for key in old.redis.scan_iter("*audit*")} == before
    left = {key async for key in old.redis.scan_iter()} - before
    assert {key for key in left if key.startswith(("progress:", "parking:"))} == {
        "parking:127.0.0.1:5672:sources"
    }
    progress = await RedisProgressStore(old.redis, ttl_seconds=60).load(SOURCE)
    assert progress.watermark == Mark(7, 1_764_400_000_007)
    assert sorted(progress.finished) == [9, 10, 11]


@pytest.mark.parametrize("odd", ["E{", "Xnew"])
async def test_unreadable_entry_of_0_1_holds_its_key_only(old: Restored, odd: str) -> None:
    """The app would not start, and no command would run, if the migration failed."""
    name = "parking:127.0.0.1:5672:{events/$default/0}:documents:=frank"
    position = min(await old.redis.hkeys(name))
    await old.redis.hset(name, position, odd)
    async with open_migration(old.settings) as migration:
        done = await migration.run()
    assert [(each.source.partition, each.keys, each.entries) for each in done] == [
        ("0", 3, 6),
        ("1", 1, 1),
    ]
    async with open_redrive(old.settings) as redrive:
        await redrive.run()
    async with open_parking(old.settings) as parking:
        assert {each.key for each in await parking.store.keys()} == {"frank"}


async def test_two_instances_may_migrate_at_the_same_time(old: Restored) -> None:
    """An entry that a redrive has replayed in the meantime does not come back."""
    dump = {key: value async for key, value in _everything(old.redis)}
    async with open_migration(old.settings) as migration:
        await migration.run()
    async with open_redrive(old.settings) as redrive:
        await redrive.run()
    handled = len(old.handled)
    for key, value in dump.items():  # a slow instance still sees the old data
        await old.redis.restore(key, 0, value, replace=True)
    async with open_migration(old.settings) as migration:
        await migration.run()
    async with open_parking(old.settings) as parking:
        assert await parking.store.keys() == []
    async with open_redrive(old.settings) as redrive:
        await redrive.run()
    assert len(old.handled) == handled


async def _everything(redis: Any) -> AsyncIterator[tuple[str, Any]]:
    async with Redis.from_url(
        "redis://{host}:{port}/{db}".format(**redis.connection_pool.connection_kwargs)
    ) as raw:
        async for key in redis.scan_iter():
            yield key, await raw.dump(key)


async def test_messages_name_their_event(each: Restored) -> None:
    """The list shows one form of id for old and new messages."""
    async with open_poison(each.settings) as storage:
        found = {message.id for message in await browse(storage.reader)}
    assert found == {
        "127.0.0.1/events/0/3/1764400000003",
        "127.0.0.1/events/0/7/1764400000007",
        "127.0.0.1/events/0/10/1764400000010",
        "127.0.0.1/events/1/0/1764400000000",
        "127.0.0.1/audit/0/0/1764400000000",
    }


async def test_instance_of_0_1_that_still_runs_is_reported(old: Restored) -> None:
    """Version 0.1 does not know of formats, so only its writes show it."""
    host = old.settings["EventHubConnection"].partition("sb://")[2].partition(";")[0].strip("/")
    async with open_migration(old.settings) as migration:
        assert await migration.running(["0", "1"]) == []
        await migration.run()
        assert await migration.running(["0", "1"]) == []
        await old.redis.hset(f"progress:{{{host}/Events/$Default/1}}:watermark", "owner", "1")
        assert await migration.running(["0", "1"]) == ["1"]


async def test_older_instance_starts_no_batch_of_a_newer_format(old: Restored) -> None:
    """The error says what to do; nothing is claimed, and the redrive touches nothing."""
    await old.process("events", (20, "zoe"))
    prefix = "breakwater:{127.0.0.1/events/$default/default/0}:"
    assert await old.redis.get(f"{prefix}format") == str(FORMAT)
    await old.redis.set(f"{prefix}format", str(FORMAT + 1))
    before = await old.redis.hgetall(f"{prefix}progress:watermark")
    with pytest.raises(FormatError, match=f"format {FORMAT + 1}.*reads format {FORMAT}"):
        await old.process("events", (21, "zoe"))
    assert await old.redis.hgetall(f"{prefix}progress:watermark") == before
    assert old.numbers("zoe") == [20]
    parking = RedisParkingStore(old.redis, most=10, ttl_seconds=60, identity=IDENTITY)
    with pytest.raises(FormatError):
        await parking.lease(SOURCE, "alice", "token", 1000)
