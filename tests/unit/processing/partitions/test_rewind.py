"""Rewind: back and never forward, and only while nobody would write over it."""

from __future__ import annotations

import pytest

from processing.parking.memory import MemoryParkingStore
from processing.partitions.checkpoints import Checkpoint, HostCheckpoints, Ownership
from processing.partitions.positions import HubPosition, HubPositions, HubRange
from processing.partitions.rewind import Rewind, RewindRefusedError
from processing.progress.memory import MemoryProgressStore
from processing.progress.store import Mark, Progress
from tests.support.processing.events import SOURCE, event


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
    """Two partitions that keep the events 5 to 99."""

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


class Made:
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
            hub="events",
            group="$Default",
        )
        self.checkpoints.known["0"] = Checkpoint(49, "4900")

    async def run(self, partition: str, to: int | None, *, force: bool = False) -> None:
        await self.rewind.run(await self.rewind.plan([partition], to), force=force)


async def test_back_to_an_event() -> None:
    """The checkpoint is the event before, and nothing is known as finished any more."""
    made = Made()
    owner = (await made.progress.open(SOURCE)).owner
    await made.progress.commit(SOURCE, owner, Mark(49, event(49).enqueued_ms), [])
    (step,) = await made.rewind.plan(["0"], 30)
    assert (step.first, step.before, step.events) == (30, 49, 20)
    assert made.checkpoints.known["0"] == Checkpoint(49, "4900"), "a plan changes nothing"
    await made.rewind.run([step])
    assert made.checkpoints.known["0"] == Checkpoint(29, "2900")
    assert await made.progress.load(SOURCE) == Progress()


async def test_back_to_the_start() -> None:
    """From the first event on that the hub keeps, whatever that will be then."""
    made = Made()
    await made.run("0", None)
    assert made.checkpoints.known["0"] == Checkpoint(4, "-1")
    await made.run("0", 5)
    assert made.checkpoints.known["0"] == Checkpoint(4, "-1")


async def test_all_partitions() -> None:
    """Also those that have no checkpoint: their progress may know finished events."""
    made = Made()
    steps = await made.rewind.plan(None, None)
    assert [(step.partition, step.before, step.events) for step in steps] == [
        ("0", 49, 45),
        ("1", None, 0),
    ]


async def test_replayed_keys_are_forgotten() -> None:
    """Events behind the rewind are processed again although a redrive had replayed them."""
    made = Made()
    claim = await made.parking.claim(SOURCE, "me", "")
    place = f"{event(40).enqueued_ms:015d}:{40:020d}"
    await made.parking.poison(claim, SOURCE, "k", place, "p")
    await made.parking.lease(SOURCE, "k", "t", 1000)
    await made.parking.finish(SOURCE, "k", "t", place)
    await made.run("0", 41)
    assert (await made.parking.claim(SOURCE, "me", "")).replayed == {"k": place}
    made.positions.enqueued_ms = event(40).enqueued_ms  # the one before came in the same moment
    await made.run("0", 40)
    assert (await made.parking.claim(SOURCE, "me", "")).replayed == {}


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
async def test_refused(partition: str, to: int, says: str) -> None:
    """What would lose events is refused."""
    with pytest.raises(RewindRefusedError, match=says):
        await Made().rewind.plan([partition], to)


async def test_refused_while_the_app_runs() -> None:
    """It would write its checkpoint over this one; ownership that has run out says nothing."""
    made = Made()
    made.checkpoints.owned = [Ownership("0", "host", 3.0)]
    with pytest.raises(RewindRefusedError, match="3 s ago: it owns partition 0"):
        await made.run("0", 30)
    assert made.checkpoints.known["0"] == Checkpoint(49, "4900")
    await made.run("0", 30, force=True)
    made.checkpoints.owned = [Ownership("0", "host", 500.0), Ownership("1", "host", 1.0)]
    await made.run("0", 20)
    assert made.checkpoints.known["0"] == Checkpoint(19, "1900")


async def test_a_hub_that_was_made_again() -> None:
    """Its checkpoint lies beyond its end; the start is always allowed."""
    made = Made()
    made.positions.kept = HubRange(0, 0)
    await made.run("0", None)
    assert made.checkpoints.known["0"] == Checkpoint(-1, "-1")
