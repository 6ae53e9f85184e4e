"""Positions in the hub: a partition's range of events, and the offset and time of one event."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from azure.core.exceptions import AzureError
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext
from azure.eventhub.exceptions import EventHubError

from processing.errors import StorageUnavailableError
from processing.partitions.hub_range import HubRange

FAILURES = (EventHubError, AzureError, OSError, TimeoutError)
"""The errors of a hub that cannot be asked; an AzureError comes from the login."""


@dataclass(frozen=True, slots=True)
class HubDescription:
    """The parts of a hub that are common to its partitions.

    Attributes:
        created_ms: time at which the hub was created, milliseconds since 1970.
        partitions: the partition ids, in the hub's order.
    """

    created_ms: int
    partitions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HubPosition:
    """The position of one event in its partition, and the event's key."""

    sequence_number: int
    offset: str
    enqueued_ms: int
    key: str | None = None


class HubPositions:
    """A reader of positions in the hub.

    Args:
        client: the hub's client, closed by the caller.
        seconds: timeout of reading one event.
    """

    def __init__(self, client: EventHubConsumerClient, *, seconds: float = 30.0) -> None:
        self._client = client
        self._seconds = seconds

    async def describe(self) -> HubDescription:
        """Return the hub's partitions and the time at which the hub was created, in one request.

        Raises:
            StorageUnavailableError: the hub did not answer.
        """
        try:
            found = await self._client.get_eventhub_properties()
        except FAILURES as error:
            raise StorageUnavailableError(f"event hub: {error}") from error
        created_ms = int(found["created_at"].timestamp() * 1000 + 0.5)
        return HubDescription(created_ms, tuple(found["partition_ids"]))

    async def partitions(self) -> list[str]:
        """Return all partition ids, sorted.

        Raises:
            StorageUnavailableError: the hub did not answer.
        """
        return sorted((await self.describe()).partitions)

    async def created_ms(self) -> int:
        """Return the time at which the hub was created, milliseconds since 1970.

        Raises:
            StorageUnavailableError: the hub did not answer.
        """
        return (await self.describe()).created_ms

    async def range(self, partition: str) -> HubRange:
        """Return the range of events that a partition retains.

        Raises:
            StorageUnavailableError: the hub did not answer, or has no such partition.
        """
        try:
            found = await self._client.get_partition_properties(partition)
        except FAILURES as error:
            raise StorageUnavailableError(f"event hub: {error}") from error
        end = int(found["last_enqueued_sequence_number"]) + 1
        return HubRange(end if found["is_empty"] else int(found["beginning_sequence_number"]), end)

    async def find(self, partition: str, sequence_number: int) -> HubPosition:
        """Return the position of an event that the partition retains.

        Raises:
            StorageUnavailableError: the event could not be read in time.
        """
        found: asyncio.Future[EventData] = asyncio.get_running_loop().create_future()

        async def on_event(_context: PartitionContext, event: EventData | None) -> None:
            if event is not None and not found.done():
                found.set_result(event)

        async def on_error(_context: PartitionContext | None, error: Exception) -> None:
            if not found.done():
                found.set_exception(error)

        receiving = asyncio.create_task(
            self._client.receive(
                on_event,
                on_error=on_error,
                partition_id=partition,
                starting_position=sequence_number,
                starting_position_inclusive=True,
                prefetch=1,
            )
        )
        try:
            event = await asyncio.wait_for(found, self._seconds)
        except (TimeoutError, EventHubError) as error:
            raise StorageUnavailableError(
                f"event hub: event {sequence_number} of partition {partition} cannot be read: "
                f"{error or f'no answer within {self._seconds:g} s'}"
            ) from error
        finally:
            receiving.cancel()
            with suppress(asyncio.CancelledError, EventHubError):
                await receiving
        assert event.sequence_number is not None  # noqa: S101 - every received event has both
        assert event.enqueued_time is not None  # noqa: S101
        return HubPosition(
            event.sequence_number,
            str(event.offset),
            int(event.enqueued_time.timestamp() * 1000 + 0.5),
            _key(event),
        )


def _key(event: EventData) -> str | None:
    key = event.partition_key
    return key.decode(errors="replace") if isinstance(key, bytes) else key
