"""Write stored data with the installed version of the app, and dump the data into a file.

The script must also run in a checkout of an older version, so it uses only what all versions have.
See tests/fixtures/formats/README.md.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from azure.storage.blob.aio import ContainerClient
from azure.storage.queue.aio import QueueClient
from redis.asyncio import Redis

from processing.errors import DependencyUnavailableError
from processing.event import EventBatch

try:
    from processing.parts import Parts
except ImportError:  # version 0.1
    from processing.bootstrap import Parts  # type: ignore[attr-defined, no-redef]

FIRST_MS = 1_764_400_000_000
QUEUE = "poison"


async def handle(event: Any) -> None:
    """Refuse the events that ask for it; `stop` ends the batch without finishing the event."""
    wish = event.properties.get("wish")
    if wish == "stop":
        await asyncio.sleep(0.5)  # the other lanes finish their events
        raise DependencyUnavailableError("the event is kept until the batch fails")
    if wish == "fail" and event.key != os.environ.get("REPAIRED", "-"):
        raise ValueError(f"event {event.sequence_number} asked to fail")


class Bound:
    """An event as the trigger binds it."""

    def __init__(
        self, number: int, key: str | None, body: bytes, metadata: Mapping[str, Any]
    ) -> None:
        from datetime import UTC, datetime

        self.body = body
        self.partition_key = key
        self.sequence_number = number
        self.offset = str(number * 100)
        self.enqueued_time = datetime.fromtimestamp((FIRST_MS + number) / 1000, UTC)
        self.iothub_metadata: dict[str, Any] = {}
        self.metadata = metadata

    def get_body(self) -> bytes:
        """Return the body."""
        return self.body


def batch(
    hub: str, group: str, *events: tuple[int, str | None, str, int], partition: str = "0"
) -> EventBatch:
    """Return a batch of events: number, key, wish and size of the body."""
    metadata = {
        "PartitionContext": {
            "FullyQualifiedNamespace": "127.0.0.1",
            "EventHubName": hub,
            "ConsumerGroup": group,
            "PartitionId": partition,
        },
        "PropertiesArray": [{"wish": wish, "number": number} for number, _, wish, _ in events],
        "SystemPropertiesArray": [
            {
                "message-id": f"m-{number}",
                "SequenceNumber": number,
                "Offset": str(number * 100),
                "PartitionKey": key,
                "EnqueuedTimeUtc": Bound(number, key, b"", {}).enqueued_time.isoformat(),
            }
            for number, key, _, _ in events
        ],
    }
    return EventBatch.from_binding(
        [Bound(number, key, b"x" * size, metadata) for number, key, _, size in events]
    )


async def write(settings: Mapping[str, str]) -> None:
    """Leave finished, poisoned, parked, replayed and unfinished events behind."""
    parts = await Parts.build(settings)
    process = parts.processor.process
    try:
        await process(
            batch(
                *("Events", "$Default"),
                *((0, "bob", "", 5), (1, "gone", "fail", 5), (2, "gone", "", 5)),
                *((3, "alice", "fail", 5), (4, "bob", "", 5), (5, "alice", "", 37_000)),
            )
        )
        with suppress(DependencyUnavailableError):
            await process(
                batch(
                    *("Events", "$Default"),
                    *((6, "alice", "", 5), (7, "big", "fail", 37_000), (8, "dora", "stop", 5)),
                    (9, "erin", "", 5),
                )
            )
        await process(batch("Events", "$Default", (0, None, "fail", 5), partition="1"))
        await redrive(settings, "gone")
        # The same partition under another spelling of its names, from the same checkpoint.
        with suppress(DependencyUnavailableError):
            await process(
                batch(
                    *("events", "$default"),
                    *((8, "dora", "stop", 5), (9, "erin", "", 5), (10, "frank", "fail", 5)),
                    *((11, "frank", "", 5), (30, "hank", "fail", 5), (31, "hank", "", 5)),
                )
            )
        await redrive(settings, "hank")  # progress has not passed these events
        # Another app on the same Redis.
        await process(batch("audit", "$Default", (0, "alice", "fail", 5)))
    finally:
        await parts.closing.aclose()


async def redrive(settings: Mapping[str, str], key: str) -> None:
    """Redrive a key with the command line, whose handler accepts the key."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "settings.json"
        file.write_text(json.dumps({"IsEncrypted": False, "Values": dict(settings)}))
        path = f"{Path.cwd()}:{Path(__file__).parent}"
        command = ("-m", "processing", "redrive", "--key", key, "--settings", str(file))
        child = await asyncio.create_subprocess_exec(
            sys.executable, *command, env=os.environ | {"REPAIRED": key, "PYTHONPATH": path}
        )
        if await child.wait():
            raise RuntimeError("the redrive failed")


async def dump(settings: Mapping[str, str]) -> dict[str, Any]:
    """Return the data in Redis, in the poison queue and in its container."""
    storage = settings["AzureWebJobsStorage"]
    found: dict[str, Any] = {"redis": {}, "queue": [], "blobs": {}}
    async with (
        Redis.from_url(settings["REDIS_URL"], decode_responses=True) as redis,
        QueueClient.from_connection_string(storage, QUEUE) as queue,
        ContainerClient.from_connection_string(storage, QUEUE) as container,
    ):
        async for key in redis.scan_iter():
            if key.startswith(("progress:", "parking:", "breakwater:")):
                found["redis"][key] = await _value(redis, key)
        async for message in queue.receive_messages(messages_per_page=32):
            found["queue"].append(json.loads(base64.b64decode(message.content)))
        async for blob in container.list_blobs():
            data = await (await container.download_blob(blob.name)).readall()
            found["blobs"][blob.name] = json.loads(data)
    found["redis"] = dict(sorted(found["redis"].items()))
    return found


async def _value(redis: Any, key: str) -> Any:
    match await redis.type(key):
        case "hash":
            return {"hash": await redis.hgetall(key)}
        case "set":
            return {"set": sorted(await redis.smembers(key))}
        case "zset":
            return {"zset": dict(await redis.zrange(key, 0, -1, withscores=True))}
        case "string":
            return {"string": await redis.get(key)}
        case kind:
            raise ValueError(f"{key} is a {kind}")


def main() -> None:
    """Run the script with the arguments of the command line."""
    file, out = map(Path, sys.argv[1:3])
    settings: dict[str, str] = json.loads(file.read_text())["Values"]
    settings |= {
        "EVENT_HUB_NAME": "Events",
        "EVENT_HUB_CONSUMER_GROUP": "$Default",
        "EVENT_HANDLER": f"{Path(__file__).stem}:handle",
        "POISON_QUEUE": QUEUE,
        "PROCESSING_POISON_ORDERING": "park",
        "PROCESSING_MAX_ATTEMPTS": "1",
        "PROCESSING_HOLD_SECONDS": "1",
    }

    async def both() -> None:
        await write(settings)
        text = json.dumps(await dump(settings), indent=1)
        out.write_text(text.replace(f"{Path.cwd()}/", "") + "\n")  # tracebacks name this folder

    sys.modules[Path(__file__).stem] = sys.modules[__name__]  # the handler's module is this script
    asyncio.run(both())


if __name__ == "__main__":
    main()
