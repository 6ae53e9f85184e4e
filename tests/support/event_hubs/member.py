"""A stock consumer process of all partitions, with ownership and checkpoints in blobs.

Usage: `python -m tests.support.event_hubs.member CONNECTION HUB CONTAINER NAME`. The process prints
a line for each acquired partition, each released partition and each event. The process exits at
the end of its input.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, cast

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore


async def main() -> None:
    """Receive events until the end of standard input."""
    connection, hub, container, name = sys.argv[1:]
    store = BlobCheckpointStore.from_connection_string(os.environ["STORAGE"], container)

    async def on_event(context: Any, event: EventData) -> None:
        _print("event", name, context.partition_id, event.body_as_str())
        await context.update_checkpoint(event)

    async def on_start(context: Any) -> None:
        _print("owns", name, context.partition_id)

    async def on_close(context: Any, reason: object) -> None:
        del reason
        _print("left", name, context.partition_id)

    client = EventHubConsumerClient.from_connection_string(
        connection,
        "$Default",
        eventhub_name=hub,
        checkpoint_store=store,
        load_balancing_interval=0.3,
        partition_ownership_expiration_interval=6,
        load_balancing_strategy="greedy",
        retry_total=0,
    )
    receiving = asyncio.create_task(
        client.receive(
            cast("Any", on_event),
            on_partition_initialize=on_start,
            on_partition_close=on_close,
            starting_position="-1",
        )
    )
    await asyncio.to_thread(sys.stdin.read)
    await client.close()
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    await store.close()


def _print(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
