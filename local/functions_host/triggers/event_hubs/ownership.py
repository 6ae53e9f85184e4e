"""Partition balancing as in the real host, which uses the .NET SDK.

The Python SDK takes one partition from a busier owner in each round, and stops at the rounded-down
share, however many partitions another owner keeps. The .NET processor continues in the same round
until its share is right, and takes from an owner that has more than the rounded-up share. This
module extends private classes of the SDK; the version is pinned, and tests detect a change.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from azure.eventhub import LoadBalancingStrategy
from azure.eventhub.aio._eventprocessor._ownership_manager import OwnershipManager
from azure.eventhub.aio._eventprocessor.event_processor import EventProcessor
from azure.eventhub.exceptions import EventHubError

if TYPE_CHECKING:
    from azure.eventhub.aio import CheckpointStore, EventHubConsumerClient

    from local.functions_host.triggers.event_hubs.balancing import Balancing

PARTITIONS_SECONDS = 5.0
"""Time after which a host asks the hub for new partitions; the real host asks every 30 s."""
_MAX_CYCLES = 64
"""The limit of cycles in one round, in case two owners keep taking from each other."""


class FairOwnership(OwnershipManager):
    """An ownership manager that claims in each round until this owner has its fair share.

    A partition that another owner has taken is not taken back in the same round: the SDK would not
    notice the loss, and would continue after the events that it had already fetched.
    """

    _claimed_more = False
    _held: frozenset[str] = frozenset()
    _asked = -math.inf

    async def claim_ownership(self) -> list[str]:
        """Run one round and return the owned partitions."""
        await self._note_new_partitions()
        self._held = frozenset(
            item["partition_id"]
            for item in self.owned_partitions
            if item["owner_id"] == self.owner_id
        )
        for _ in range(_MAX_CYCLES):
            self._claimed_more = False
            owned = await super().claim_ownership()
            if not self._claimed_more:
                break
        return owned

    async def _note_new_partitions(self) -> None:
        """Ask for the partitions again; the SDK asks once and so misses the growth of a hub."""
        now = time.monotonic()
        if now - self._asked < PARTITIONS_SECONDS:
            return
        self._asked = now
        try:
            await self._retrieve_partition_ids()
        except EventHubError:
            if not self.cached_parition_ids:
                raise

    def _balance_ownership(
        self, ownership_list: Iterable[dict[str, Any]], all_partition_ids: list[str]
    ) -> list[dict[str, Any]]:
        # A hub that was recreated with fewer partitions leaves blobs of partitions that are gone.
        listed = [item for item in ownership_list if item["partition_id"] in all_partition_ids]
        oldest = time.time() - self.ownership_timeout
        held: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for item in listed:
            if item["owner_id"] and item["last_modified_time"] >= oldest:
                held[item["owner_id"]].append(item)
        kept = {item["partition_id"] for item in listed if item["owner_id"] == self.owner_id}
        lost = self._held - kept
        own = len(held[self.owner_id])
        most = math.ceil(len(all_partition_ids) / len(held))
        claims = super()._balance_ownership(listed, all_partition_ids)
        fullest = max(held.values(), key=len)
        if len(claims) == own < most < len(fullest):
            claims.append({**random.choice(fullest), "owner_id": self.owner_id})  # noqa: S311
        claims = [claim for claim in claims if claim["partition_id"] not in lost]
        self._claimed_more = len(claims) > own
        return claims


class Processor(EventProcessor):
    """The SDK's event processor with fair balancing.

    The owner id begins with the process id, so that `python -m local status` can name the instance.
    """

    def __init__(
        self,
        client: EventHubConsumerClient,
        consumer_group: str,
        on_batch: Callable[[Any, Any], Awaitable[None]],
        store: CheckpointStore,
        balancing: Balancing,
        **options: Any,
    ) -> None:
        super().__init__(
            client,
            consumer_group,
            on_batch,
            batch=True,
            checkpoint_store=store,
            load_balancing_interval=balancing.interval_seconds,
            partition_ownership_expiration_interval=balancing.lease_seconds,
            **options,
        )
        self._id = f"{os.getpid()}-{self._id}"
        self._ownership_manager = FairOwnership(
            *(client, consumer_group, self._id, store, balancing.lease_seconds),
            LoadBalancingStrategy.GREEDY,
            None,
        )

    def get_init_event_position(
        self, partition_id: str, checkpoint: dict[str, Any] | None
    ) -> tuple[str | int | datetime, bool]:
        """Return the position to receive from, and whether its event is received again.

        A number is the sequence number in a checkpoint without an offset. The SDK would take the
        number 0 for a missing checkpoint.
        """
        if checkpoint is not None and isinstance(checkpoint["offset"], int):
            return checkpoint["offset"], False
        position: tuple[str | int | datetime, bool] = super().get_init_event_position(
            partition_id, checkpoint
        )
        return position

    async def run(self) -> None:
        """Claim and receive until cancelled; then release every partition."""
        try:
            await self.start()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """End every partition at once; the SDK's own stop polls only once a second."""
        self._running = False
        ending = list(self._tasks.values())
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        await super().stop()
