"""Where events stand in the hub: the range that it keeps, and one event's offset and time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext
from azure.eventhub.exceptions import EventHubError

from processing.errors import StorageUnavailableError


@dataclass(frozen=True, slots=True)
class HubRange:
    """Sequence numbers of the first event that a partition keeps, and of the next one it gets."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class HubPosition:
    """One event's place."""

    sequence_number: int
    offset: str
    enqueued_ms: int


class HubPositions:
    """Looks events up.

    Args:
        client: closed by the caller.
        seconds: how long the hub may take to hand over an event that it has.
    """

    def __init__(self, client: EventHubConsumerClient, *, seconds: float = 30.0) -> None:
        self._client = client
        self._seconds = seconds

    async def partitions(self) -> list[str]:
        """All partition ids.

        Raises:
            StorageUnavailableError: the hub did not answer.
        """
        try:
            return sorted(await self._client.get_partition_ids())
        except EventHubError as error:
            raise StorageUnavailableError(f"event hub: {error}") from error

    async def range(self, partition: str) -> HubRange:
        """What a partition keeps.

        Raises:
            StorageUnavailableError: the hub did not answer, or has no such partition.
        """
        try:
            found = await self._client.get_partition_properties(partition)
        except EventHubError as error:
            raise StorageUnavailableError(f"event hub: {error}") from error
        end = int(found["last_enqueued_sequence_number"]) + 1
        return HubRange(end if found["is_empty"] else int(found["beginning_sequence_number"]), end)

    async def find(self, partition: str, sequence_number: int) -> HubPosition:
        """Where an event stands that the partition keeps.

        Raises:
            StorageUnavailableError: the hub did not hand it over.
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
                f"event hub: event {sequence_number} of partition {partition} can't be read: "
                f"{error or 'no answer'}"
            ) from error
        finally:
            receiving.cancel()
            with suppress(asyncio.CancelledError, EventHubError):
                await receiving
        assert event.sequence_number is not None  # noqa: S101 - every event of a hub has them
        assert event.enqueued_time is not None  # noqa: S101
        return HubPosition(
            event.sequence_number,
            str(event.offset),
            int(event.enqueued_time.timestamp() * 1000 + 0.5),
        )
