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
from azure.eventhub.amqp import AmqpMessageBodyType
from azure.eventhub.exceptions import EventHubError

from console.errors import NotReaderError
from console.poison.documents import PREVIEW_CHARS, text_of
from processing.partitions.positions import FAILURES

PER_SECOND = 10
BEHIND_SECONDS = 2.0
PREFETCH = 10
RETRY_SECONDS = 2.0
PARTITIONS_SECONDS = 30.0
"""Time after which the sampler asks the hub for new partitions."""


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
        self._every_seconds = 0.0

    async def run(self) -> None:
        """Sample until cancelled, also the partitions that the hub gets later.

        Raises:
            NotReaderError: another instance is the elected reader.
            EventHubError: the hub's partitions cannot be read at the start.
        """
        known: set[str] = set()
        found = await self._client.get_partition_ids()
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._every_seconds = len(found) / PER_SECOND
                    for partition in found:
                        if partition not in known:
                            group.create_task(self._partition(partition))
                    known.update(found)
                    await asyncio.sleep(PARTITIONS_SECONDS)
                    with suppress(*FAILURES):  # then the partitions are asked again later
                        found = await self._client.get_partition_ids()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _partition(self, partition: str) -> None:
        """Sample a partition; an error, also of the SDK's decoder, is reported and retried."""
        while True:
            try:
                await self._sample_from_end(partition)
            except NotReaderError:
                raise
            except Exception as error:
                kind = "" if isinstance(error, EventHubError) else f"{type(error).__name__}: "
                await self._report(f"partition {partition}: {kind}{error}")
                await asyncio.sleep(RETRY_SECONDS)

    async def _sample_from_end(self, partition: str) -> None:
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
            await asyncio.sleep(self._every_seconds)

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
    """Return the document of an event for the page.

    The preview of a body that is not bytes begins with its AMQP type; such a body has no size, and
    the Event Hubs trigger cannot read it. The preview of an event that cannot be shown is the
    error, so that this event is the only one that is not shown.
    """
    document: dict[str, Any] = {
        "time": round(time.time() * 1000),
        "partition": partition,
        "sequence_number": None,
        "key": None,
        "size": None,
        "preview": "",
    }
    try:
        document["time"] = round(_enqueued(event).timestamp() * 1000)
        document["sequence_number"] = event.sequence_number
        document["key"] = _key(event)
        document["size"], document["preview"] = _body(event)
    except Exception as error:
        document["preview"] = f"This event cannot be shown: {type(error).__name__}: {error}"
    document["preview"] = document["preview"][:PREVIEW_CHARS]
    return document


def _body(event: EventData) -> tuple[int | None, str]:
    """Return the size and the text of an event's body."""
    body: Any = event.body
    if event.body_type is not AmqpMessageBodyType.DATA:
        if event.body_type is AmqpMessageBodyType.SEQUENCE:
            body = list(body)
        return None, f"AMQP {event.body_type.value}: {body}"
    # An iterator of bytes, if Event Hubs delivered the event; None without a section.
    content = bytes(body) if isinstance(body, bytes) else b"".join(body or ())
    return len(content), text_of(content[: PREVIEW_CHARS * 4])


def _key(event: EventData) -> str | None:
    key = event.partition_key
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else key


def _enqueued(event: EventData) -> datetime:
    return event.enqueued_time or datetime.now(UTC)
