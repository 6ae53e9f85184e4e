"""Rewinds move a checkpoint back only, and only while no instance would overwrite it."""

from __future__ import annotations

import pytest

from processing.parking.memory import MemoryParkingStore
from processing.partitions.checkpoints import Checkpoint, HostCheckpoints, Ownership
from processing.partitions.positions import HubPosition, HubPositions, HubRange
from processing.partitions.rewind import Rewind, RewindRefusedError
from processing.progress.memory import MemoryProgressStore
from processing.progress.store import Mark, Progress
from tests.support.processing.events import IDENTITY, SOURCE, event


class Checkpoints(HostCheckpoints):
    """Checkpoints in a dictionary."""

    def __init__(self) -> None:
        self.known: dict[str, Checkpoint] = {}
        self.owned: list[Ownership] = []

    async def read(self, partition: str) -> Checkpoint | None:
        return self.known.get(partition)

    async def write(self, partition: str, checkpoint: Checkpoint) -> None:
        self.known[partition] = checkpoint

    async def owners(self) -> list[Ownership]:
        return self.owned


class Positions(HubPositions):
    """Positions of two partitions that keep the events 5 to 99."""

    kept = HubRange(5, 100)
    enqueued_ms = 0

    def __init__(self) -> None:
        pass

    async def partitions(self) -> list[str]:
        return ["0", "1"]

    async def range(self, partition: str) -> HubRange:
        return self.kept

    async def find(self, partition: str, sequence_number: int) -> HubPosition:
        each = event(sequence_number)
        return HubPosition(sequence_number, each.offset, self.enqueued_ms or each.enqueued_ms)


class RewindSetup:
    """A rewind on in-memory stores, with partition 0 checkpointed at event 49."""

    def __init__(self) -> None:
        self.checkpoints = Checkpoints()
        self.positions = Positions()
        self.progress = MemoryProgressStore()
        self.parking = MemoryParkingStore()
        self.rewind = Rewind(
            checkpoints=self.checkpoints,
            positions=self.positions,
            progress=self.progress,
            parking=self.parking,
            identity=IDENTITY,
        )
        self.checkpoints.known["0"] = Checkpoint(49, "4900")

    async def run(self, partition: str, to: int | None, *, force: bool = False) -> None:
        await self.rewind.run(await self.rewind.plan([partition], to), force=force)


async def test_rewind_to_an_event_moves_the_checkpoint_and_clears_progress() -> None:
    """The checkpoint is set to the event before, and the partition's progress is empty."""
    setup = RewindSetup()
    owner = (await setup.progress.open(SOURCE)).owner
    await setup.progress.commit(SOURCE, owner, Mark(49, event(49).enqueued_ms), [])
    (step,) = await setup.rewind.plan(["0"], 30)
    assert (step.first, step.before, step.events) == (30, 49, 20)
    assert setup.checkpoints.known["0"] == Checkpoint(49, "4900"), "a plan changes nothing"
    await setup.rewind.run([step])
    assert setup.checkpoints.known["0"] == Checkpoint(29, "2900")
    assert await setup.progress.load(SOURCE) == Progress()


async def test_rewind_to_the_start_uses_the_start_offset() -> None:
    """Offset -1 means the first event that the hub keeps when the app starts."""
    setup = RewindSetup()
    await setup.run("0", None)
    assert setup.checkpoints.known["0"] == Checkpoint(4, "-1")
    await setup.run("0", 5)
    assert setup.checkpoints.known["0"] == Checkpoint(4, "-1")


async def test_plan_without_partitions_includes_all() -> None:
    """A partition without a checkpoint is included, as its progress may hold finished events."""
    setup = RewindSetup()
    steps = await setup.rewind.plan(None, None)
    assert [(step.partition, step.before, step.events) for step in steps] == [
        ("0", 49, 45),
        ("1", None, 0),
    ]


async def test_rewind_forgets_redriven_events() -> None:
    """Events behind the rewind position are processed again, also when a redrive replayed them."""
    setup = RewindSetup()
    claim = await setup.parking.claim(SOURCE, "me", "")
    place = f"{event(40).enqueued_ms:015d}:{40:020d}"
    await setup.parking.poison(claim, SOURCE, "k", place, "p")
    await setup.parking.lease(SOURCE, "k", "t", 1000)
    await setup.parking.finish(SOURCE, "k", "t", place)
    await setup.run("0", 41)
    assert (await setup.parking.claim(SOURCE, "me", "")).replayed == {"k": place}
    setup.positions.enqueued_ms = event(40).enqueued_ms  # event 39 has the same enqueued time
    await setup.run("0", 40)
    assert (await setup.parking.claim(SOURCE, "me", "")).replayed == {}


@pytest.mark.parametrize(
    ("partition", "to", "says"),
    [
        ("7", 10, r"no partition '7' \(it has: 0, 1\)"),
        ("0", 4, "retains the events 5 to 99; event 4 is not among them"),
        ("0", 101, "101 is not among them"),
        ("0", 60, "would skip 10 events; the highest accepted sequence number is 50"),
        ("1", 6, "would skip 1 events; the highest accepted sequence number is 5"),
    ],
)
async def test_rewind_that_would_lose_events_is_refused(partition: str, to: int, says: str) -> None:
    """The error names the position asked for and the positions that are accepted."""
    with pytest.raises(RewindRefusedError, match=says):
        await RewindSetup().rewind.plan([partition], to)


async def test_rewind_is_refused_while_an_instance_owns_the_partition() -> None:
    """Expired ownership and the ownership of another partition do not refuse the rewind."""
    setup = RewindSetup()
    setup.checkpoints.owned = [Ownership("0", "host", 3.0)]
    with pytest.raises(RewindRefusedError, match="3 s ago: it owns partition 0"):
        await setup.run("0", 30)
    assert setup.checkpoints.known["0"] == Checkpoint(49, "4900")
    await setup.run("0", 30, force=True)
    setup.checkpoints.owned = [Ownership("0", "host", 500.0), Ownership("1", "host", 1.0)]
    await setup.run("0", 20)
    assert setup.checkpoints.known["0"] == Checkpoint(19, "1900")


async def test_rewind_to_the_start_works_after_the_hub_was_recreated() -> None:
    """The old checkpoint lies beyond the end of the recreated hub."""
    setup = RewindSetup()
    setup.positions.kept = HubRange(0, 0)
    await setup.run("0", None)
    assert setup.checkpoints.known["0"] == Checkpoint(-1, "-1")
