"""The child process of P5, which receives events with the bare SDK.

Standard input is one line of JSON, {"connection", "hub", "group", "prefetch", "batch", "total"}.
Standard output is one line of JSON, {"timeline": [[seconds, events received by then], …]}.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any, cast

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext


async def main() -> None:
    """Receive `total` events of partition 0 from the first event on."""
    order = json.loads(sys.stdin.readline())
    timeline: list[tuple[float, int]] = []
    complete = asyncio.Event()
    received = 0

    async def on_events(context: PartitionContext, batch: list[EventData]) -> None:
        nonlocal received
        received += len(batch)
        timeline.append((time.monotonic(), received))
        if received >= order["total"]:
            complete.set()

    client = EventHubConsumerClient.from_connection_string(
        order["connection"], order["group"], eventhub_name=order["hub"]
    )
    async with client:
        receiving = asyncio.create_task(
            client.receive_batch(
                cast("Any", on_events),
                max_batch_size=order["batch"],
                prefetch=order["prefetch"],
                partition_id="0",
                starting_position="-1",
            )
        )
        waiting = asyncio.create_task(complete.wait())
        await asyncio.wait({receiving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in (receiving, waiting):
            task.cancel()
        await asyncio.gather(receiving, waiting, return_exceptions=True)
    sys.stdout.write(json.dumps({"timeline": timeline}) + "\n")


if __name__ == "__main__":
    logging.getLogger("azure").setLevel(logging.ERROR)
    asyncio.run(main())
