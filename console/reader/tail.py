"""The live tail: a sample of what flows through the hub right now, read once for everybody.

Loads Microsoft's SDKs: imported by `LazyOperations.module`, when somebody looks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext
from azure.eventhub.exceptions import EventHubError

from console.poison.documents import PREVIEW_CHARS, text_of

PER_SECOND = 10
BEHIND_SECONDS = 2.0
PREFETCH = 10
RETRY_SECONDS = 2.0


class Tail:
    """Reads all partitions from their end, no more of each than is shown.

    An event is taken, then nothing until the next is due. Where more flows than is shown, that
    falls behind; then the partition is read from its end again, so that the sample is of now and
    costs the same however much flows.

    Args:
        client: of a consumer group that nobody else reads.
        show: takes one sample.
        report: takes why a partition cannot be read just now.
    """

    def __init__(
        self,
        client: EventHubConsumerClient,
        show: Callable[[dict[str, Any]], Awaitable[None]],
        report: Callable[[str], Awaitable[None]],
    ) -> None:
        self._client = client
        self._show = show
        self._report = report

    async def run(self) -> None:
        """Sample for ever."""
        partitions = await self._client.get_partition_ids()
        async with asyncio.TaskGroup() as group:
            for partition in partitions:
                group.create_task(self._partition(partition, len(partitions) / PER_SECOND))

    async def _partition(self, partition: str, every_seconds: float) -> None:
        while True:
            try:
                await self._from_now_on(partition, every_seconds)
            except EventHubError as error:
                await self._report(f"partition {partition}: {error}")
                await asyncio.sleep(RETRY_SECONDS)

    async def _from_now_on(self, partition: str, every_seconds: float) -> None:
        """Sample until what comes is of the past, or the hub refuses."""
        stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def on_event(_: PartitionContext, event: EventData | None) -> None:
            if event is None or stopped.done():
                return
            age = time.time() - _enqueued(event).timestamp()
            if age > BEHIND_SECONDS:
                stopped.set_result(None)
                return
            await self._show(sample(partition, event))
            await asyncio.sleep(every_seconds)

        async def on_error(_: PartitionContext | None, error: Exception) -> None:
            if not stopped.done():
                stopped.set_exception(error)

        receiving = asyncio.create_task(
            self._client.receive(
                on_event,
                on_error=on_error,
                partition_id=partition,
                starting_position="@latest",
                prefetch=PREFETCH,
            )
        )
        try:
            await asyncio.wait({receiving, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                stopped.result()
            else:
                receiving.result()
        finally:
            receiving.cancel()
            with suppress(asyncio.CancelledError, EventHubError):
                await receiving


def sample(partition: str, event: EventData) -> dict[str, Any]:
    """What is shown of an event."""
    parts: Any = event.body  # an iterator of bytes, for what Event Hubs delivers
    body = bytes(parts) if isinstance(parts, bytes) else b"".join(parts)
    key = event.partition_key
    return {
        "time": round(_enqueued(event).timestamp() * 1000),
        "partition": partition,
        "sequence_number": event.sequence_number,
        "key": key.decode("utf-8", "replace") if isinstance(key, bytes) else key,
        "size": len(body),
        "preview": text_of(body[: PREVIEW_CHARS * 4])[:PREVIEW_CHARS],
    }


def _enqueued(event: EventData) -> datetime:
    return event.enqueued_time or datetime.now(UTC)
