"""Live tail: a sample of the hub's newest events, read once for all pages.

The module loads Microsoft's SDKs, so `LazyOperations.module` imports it on first use.
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
    """A sampler of all partitions, which reads only as many events as it shows.

    After each event the sampler pauses until the next sample is due. On a busy partition it falls
    behind; then it starts again at the partition's end. So the sample stays recent, and its cost
    does not depend on the traffic.

    Args:
        client: client of a consumer group that no other reader uses.
        show: called with each sample.
        report: called with the error when a partition cannot be read.
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
        """Sample until cancelled."""
        partitions = await self._client.get_partition_ids()
        async with asyncio.TaskGroup() as group:
            for partition in partitions:
                group.create_task(self._partition(partition, len(partitions) / PER_SECOND))

    async def _partition(self, partition: str, every_seconds: float) -> None:
        while True:
            try:
                await self._sample_from_end(partition, every_seconds)
            except EventHubError as error:
                await self._report(f"partition {partition}: {error}")
                await asyncio.sleep(RETRY_SECONDS)

    async def _sample_from_end(self, partition: str, every_seconds: float) -> None:
        """Sample from the partition's end until the events are too old, or the hub fails."""
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
    """Return the document of an event for the page."""
    parts: Any = event.body  # an iterator of bytes, if Event Hubs delivered the event
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
