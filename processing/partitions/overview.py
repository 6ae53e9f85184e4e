"""The console's table of partitions, and the length of the poison queue.

The module loads Azure's SDKs; the console imports it when an operator opens a page.
"""

from __future__ import annotations

import time
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from processing.errors import StorageUnavailableError
from processing.partitions.checkpoints import HostCheckpoints
from processing.partitions.lag import LagReader


class Partitions:
    """A reader of the table of partitions."""

    def __init__(
        self, lag: LagReader, checkpoints: HostCheckpoints, queue: QueueClient, lease_seconds: float
    ) -> None:
        self._lag = lag
        self._checkpoints = checkpoints
        self._queue = queue
        self._lease_seconds = lease_seconds

    async def table(self) -> dict[str, Any]:
        """Return one row per partition; `problem` is the last error of the checkpoint container.

        Raises:
            StorageUnavailableError: the hub or Redis did not answer.
        """
        problem = None
        owners: dict[str, tuple[str, float]] = {}
        try:
            for found in await self._checkpoints.owners():
                left = max(0.0, self._lease_seconds - found.age_seconds)
                owners[found.partition] = (found.owner, round(left, 1))
        except StorageUnavailableError as error:
            problem = str(error)
        rows = []
        for each in await self._lag.read():
            checkpoint = None
            try:
                if (read := await self._checkpoints.read(each.partition)) is not None:
                    checkpoint = read.sequence_number
            except (StorageUnavailableError, ValueError) as error:
                problem = str(error)
            owner, seconds = owners.get(each.partition, (None, None))
            rows.append(
                {
                    "partition": each.partition,
                    "owner": owner,
                    "lease_seconds": seconds,
                    "checkpoint": checkpoint,
                    "watermark": each.watermark,
                    "last_enqueued": each.last_enqueued,
                    "lag": each.lag,
                }
            )
        return {"time": time.time_ns() // 1_000_000, "rows": rows, "problem": problem}

    async def poison_count(self) -> int | None:
        """Return the approximate number of poison messages; None if the queue cannot be read."""
        try:
            properties = await self._queue.get_queue_properties()
        except ResourceNotFoundError:  # the first poison message creates the queue
            return 0
        except AzureError:
            return None
        return properties.approximate_message_count
