"""The hub's positions and the host's checkpoints, as a rewind reads and writes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from processing.partitions.checkpoints import Checkpoint, HostCheckpoints, Ownership
from processing.partitions.hub_range import HubRange
from processing.partitions.positions import HubPosition, HubPositions

if TYPE_CHECKING:
    from tests.model.host import Host
    from tests.model.world import World


class Checkpoints(HostCheckpoints):
    """The checkpoints of the model's host, whose app is stopped."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def read(self, partition: str) -> Checkpoint | None:
        """See `HostCheckpoints.read`."""
        await asyncio.sleep(0)
        number = self._host.checkpoints[partition]
        return None if number < 0 else Checkpoint(number, str(number * 100))

    async def _put(self, partition: str, checkpoint: Checkpoint) -> None:
        await asyncio.sleep(0)
        self._host.checkpoints[partition] = checkpoint.sequence_number

    async def owners(self) -> list[Ownership]:
        """See `HostCheckpoints.owners`."""
        return []


class Positions(HubPositions):
    """The positions of the model's events, of which none expires."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def partitions(self) -> list[str]:
        """See `HubPositions.partitions`."""
        return sorted(self._world.hub)

    async def created_ms(self) -> int:
        """See `HubPositions.created_ms`."""
        return 1

    async def range(self, partition: str) -> HubRange:
        """See `HubPositions.range`."""
        return HubRange(0, len(self._world.arrived(partition)))

    async def find(self, partition: str, sequence_number: int) -> HubPosition:
        """See `HubPositions.find`."""
        each = self._world.hub[partition][sequence_number]
        return HubPosition(sequence_number, each.offset, each.enqueued_ms)
