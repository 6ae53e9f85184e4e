"""Broken parts: each lacks one of the protections that the promises rest on."""

from __future__ import annotations

import asyncio

from processing.event import Event
from processing.identity import Source
from processing.parking.event import ListKey, Position
from processing.parking.marks import MarkStore
from processing.parking.partition_marks import PartitionMarks
from processing.parking.store import Claim, ParkingStore, WritingAs
from tests.model.cluster import ModelParkingStore


class UncheckedMarks(PartitionMarks):
    """Marks that are written, but never compared with Redis's token."""

    def __init__(self, marks: MarkStore, parking: ParkingStore) -> None:
        super().__init__(marks, parking)

    async def check(self, source: Source, claim: Claim) -> None:
        """Do nothing."""

    async def writing_as(self, source: Source, claim: Claim, oldest: Event) -> WritingAs:
        """Return a right without a token."""
        return WritingAs(claim.owner, "")


class UnclaimedStore(ModelParkingStore):
    """A store in which an owner may write after another instance has claimed the partition."""

    def _check_writer(self, source: Source, writing: WritingAs) -> None:
        latest = WritingAs(self.progress.owner(source), writing.mark, writing.creates)
        super()._check_writer(source, latest)


class TwoStepStore(ModelParkingStore):
    """A store that releases a key in another step than the one that finds the list empty."""

    async def finish(
        self,
        source: Source,
        key: ListKey,
        token: str,
        position: Position,
        verdict: str = "",
        *,
        epoch: int = 0,
    ) -> int:
        """Finish an entry; look for other entries, and release the key a moment later."""
        parked = self._lists.get((source, key))
        last = parked is not None and set(parked.entries) <= {position}
        if not last:
            return await super().finish(source, key, token, position, verdict, epoch=epoch)
        await asyncio.sleep(0.5)
        self._lists.pop((source, key), None)
        await super().finish(source, key, token, position, verdict, epoch=epoch)
        return 0


class UnleasedStore(ModelParkingStore):
    """A store that gives every replay the lease that it asks for."""

    def _holder(self, source: Source, key: ListKey) -> str | None:
        return None

    def _check_lease(self, source: Source, key: ListKey, token: str) -> None:
        return


class UnrewoundStore(ModelParkingStore):
    """A store that notes replays of events from before a rewind, so that they are not repeated."""

    async def finish(
        self,
        source: Source,
        key: ListKey,
        token: str,
        position: Position,
        verdict: str = "",
        *,
        epoch: int = 0,
    ) -> int:
        """Finish an entry as if there had been no rewind."""
        self.progress._reset_ms.clear()
        epoch = self.progress.epoch(source)
        return await super().finish(source, key, token, position, verdict, epoch=epoch)
