"""A rewind on stores in memory."""

from __future__ import annotations

from processing.errors import CheckpointUnreadableError, StorageUnavailableError
from processing.identity import Source
from processing.parking.event import position_of
from processing.parking.memory import MemoryParkingStore
from processing.parking.memory_marks import MemoryMarkStore
from processing.parking.partition_marks import PartitionMarks
from processing.partitions.checkpoints import Checkpoint, HostCheckpoints, Ownership
from processing.partitions.hub_changes import MemoryHubChanges
from processing.partitions.hub_range import HubRange
from processing.partitions.positions import HubPosition, HubPositions
from processing.partitions.rewind import Rewind
from processing.partitions.rewind_stores import RewindStores
from processing.poison.discard_records import DiscardRecords
from processing.poison.memory import MemoryClaimChecks
from processing.progress.memory import MemoryProgressStore
from tests.support.processing.events import IDENTITY, SOURCE, event


class Checkpoints(HostCheckpoints):
    """Checkpoints in a dictionary."""

    def __init__(self) -> None:
        self.known: dict[str, Checkpoint] = {}
        self.owned: list[Ownership] = []
        self.unreadable: set[str] = set()

    async def read(self, partition: str) -> Checkpoint | None:
        if partition in self.unreadable:
            raise CheckpointUnreadableError(f"the checkpoint of partition {partition} is odd")
        return self.known.get(partition)

    async def _put(self, partition: str, checkpoint: Checkpoint) -> None:
        self.known[partition] = checkpoint

    async def owners(self) -> list[Ownership]:
        return self.owned


class Positions(HubPositions):
    """Positions of two partitions that keep the events 5 to 99."""

    kept = HubRange(5, 100)
    enqueued_ms = 0
    created = event(0).enqueued_ms - 1

    def __init__(self) -> None:
        self.ranges: dict[str, HubRange] = {}
        self.silent: set[str] = set()
        self.unreadable: set[tuple[str, int]] = set()
        self.missing: dict[str, set[int]] = {}

    async def partitions(self) -> list[str]:
        return ["0", "1"]

    async def created_ms(self) -> int:
        return self.created

    async def range(self, partition: str) -> HubRange:
        if partition in self.silent:
            raise StorageUnavailableError(f"event hub: partition {partition} does not answer")
        return self.ranges.get(partition, self.kept)

    async def find(self, partition: str, sequence_number: int) -> HubPosition:
        if (partition, sequence_number) in self.unreadable:
            raise StorageUnavailableError(f"event hub: event {sequence_number} cannot be read")
        while sequence_number in self.missing.get(partition, ()):
            sequence_number += 1  # as a receiver gets the next event that there is
        each = event(sequence_number)
        return HubPosition(sequence_number, each.offset, self.enqueued_ms or each.enqueued_ms)


class RewindSetup:
    """A rewind on in-memory stores, with partition 0 checkpointed at event 49."""

    def __init__(self, claims: MemoryClaimChecks | None = None) -> None:
        self.checkpoints = Checkpoints()
        self.positions = Positions()
        self.progress = MemoryProgressStore()
        self.marks = MemoryMarkStore()
        self.changes = MemoryHubChanges()
        self.claims = claims or MemoryClaimChecks()
        self.use_parking(MemoryParkingStore(self.progress))
        self.checkpoints.known["0"] = Checkpoint(49, "4900")

    def use_parking(self, parking: MemoryParkingStore) -> None:
        """Rewind with these parked lists."""
        self.parking = parking
        self.rewind = Rewind(
            RewindStores(
                checkpoints=self.checkpoints,
                positions=self.positions,
                progress=self.progress,
                parking=parking,
                marks=self.marks,
                discards=DiscardRecords(self.claims),
                identity=IDENTITY,
                changes=self.changes,
            )
        )

    async def run(self, partition: str, to: int | None, *, force: bool = False) -> None:
        plan = await self.rewind.plan([partition], to)
        await self.rewind.run(plan.steps, force=force)

    async def park(self, *numbers: int, source: Source = SOURCE) -> PartitionMarks:
        """Park events, each as the poisoned event of its own key; return the instance's marks."""
        marks = PartitionMarks(self.marks, self.parking)
        claim = await self.parking.claim(source)
        await marks.check(source, claim)
        for number in numbers:
            each = event(number, source=source)
            writing = await marks.writing_as(source, claim, each)
            await self.parking.poison(writing, source, f"k{number}", position_of(each), "p")
        return marks

    def empty_redis(self) -> None:
        self.parking.clear()
        self.progress.clear()
