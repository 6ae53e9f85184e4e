"""The decision to poison a partition's first unfinished event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from processing.errors import CheckpointUnreadableError, ProcessingError, StorageUnavailableError
from processing.monitoring.partition_state import PartitionState, State
from processing.parking.memory import MemoryParkingStore
from processing.partitions.checkpoints import Checkpoint
from processing.partitions.hub_range import HubRange
from processing.partitions.positions import HubPosition
from processing.progress.store import Mark
from processing.redrive.poison_head import PoisonHead
from tests.support.processing.events import IDENTITY, SOURCE, event


class Hub:
    """A hub with one partition, whose events have these sequence numbers."""

    def __init__(self, *numbers: int, end: int | None = None) -> None:
        self._numbers = numbers
        self._end = end if end is not None else max(numbers, default=-1) + 1

    async def partitions(self) -> list[str]:
        return ["0"]

    async def range(self, _partition: str) -> HubRange:
        return HubRange(min(self._numbers, default=self._end), self._end)

    async def find(self, _partition: str, sequence_number: int) -> HubPosition:
        number = next(each for each in self._numbers if each >= sequence_number)
        found = event(number, None)
        return HubPosition(number, found.offset, found.enqueued_ms, found.key)


STATE = PartitionState("events", "0", State.STALLED, 90.0, 1, reason="ConnectError: no route")


def heads(
    hub: Hub,
    store: MemoryParkingStore,
    checkpoint: Checkpoint | CheckpointUnreadableError | None = None,
    reports: Callable[[], Awaitable[list[PartitionState]]] | None = None,
) -> PoisonHead:
    async def read(_partition: str) -> Checkpoint | None:
        if isinstance(checkpoint, CheckpointUnreadableError):
            raise checkpoint
        return checkpoint

    async def none() -> list[PartitionState]:
        return []

    return PoisonHead(
        positions=hub,
        checkpoint=read,
        progress=store.progress,
        parking=store,
        reports=reports or none,
        identity=IDENTITY,
    )


async def finish(store: MemoryParkingStore, watermark: int, *above: int) -> None:
    """Finish all events up to the watermark, and some above it."""
    owner = (await store.claim(SOURCE)).owner
    marks = [Mark(number, event(number).enqueued_ms) for number in (watermark, *above)]
    await store.progress.commit(SOURCE, owner, marks[0], marks[1:])


async def test_first_unfinished_event_follows_the_watermark() -> None:
    """Events above the watermark may be finished, too."""
    store = MemoryParkingStore()
    await finish(store, 4, 5, 7)
    head = await heads(Hub(*range(10)), store).find("0")
    assert (head.sequence_number, head.id, head.key) == (6, event(6).id, None)


async def test_unreadable_checkpoint_refuses_no_decision() -> None:
    """An event that keeps its partition can be poisoned all the same."""
    store = MemoryParkingStore()
    await finish(store, 4)
    odd = CheckpointUnreadableError("the checkpoint of partition 0 has only an offset")
    head = await heads(Hub(*range(10)), store, odd).find("0")
    assert head.sequence_number == 5


async def test_decision_names_the_event_to_the_next_claim() -> None:
    """The owner of the partition compares the id with that of its event."""
    store = MemoryParkingStore()
    operation = heads(Hub(0, 1), store)
    await operation.poison(await operation.find("0"))
    assert (await store.claim(SOURCE)).poison_head == event(0).id


@pytest.mark.parametrize(
    ("hub", "checkpoint", "head"),
    [
        (Hub(3, 4, 5), None, 3),  # the hub no longer retains the first events
        (Hub(*range(9)), Checkpoint(6, "600"), 7),  # the progress has expired
        (Hub(0, 1, 2), Checkpoint(50, "5000"), 0),  # the hub was recreated
        (Hub(0, 1, 5), Checkpoint(1, "100"), 5),  # the hub is compacted
    ],
)
async def test_partition_without_progress_starts_at_its_checkpoint(
    hub: Hub, checkpoint: Checkpoint | None, head: int
) -> None:
    """Without a checkpoint the partition starts at the first retained event."""
    found = await heads(hub, MemoryParkingStore(), checkpoint).find("0")
    assert found.sequence_number == head


async def test_finished_partition_has_no_unfinished_event() -> None:
    """The error says so, and nothing is stored."""
    store = MemoryParkingStore()
    await finish(store, 2, 3)
    with pytest.raises(ProcessingError, match="every event in the hub is finished"):
        await heads(Hub(*range(4)), store).find("0")
    with pytest.raises(ProcessingError, match="every event in the hub is finished"):
        await heads(Hub(end=0), MemoryParkingStore()).find("0")


async def test_unknown_partition_is_refused() -> None:
    """The error names the partitions that the hub has."""
    with pytest.raises(ProcessingError, match=r"no partition '9'; it has 0"):
        await heads(Hub(0), MemoryParkingStore()).find("9")


async def test_head_shows_what_its_owner_reports() -> None:
    """A report of another event, or of a deferred key, says nothing about this event."""

    async def reports() -> list[PartitionState]:
        return [
            replace(STATE, sequence_number=9, reason="another event"),
            replace(STATE, deferred=True, reason="a deferred key"),
            replace(STATE, partition="1", reason="another partition"),
            STATE,
        ]

    store = MemoryParkingStore()
    await finish(store, 0)
    head = await heads(Hub(*range(3)), store, reports=reports).find("0")
    assert head.why.startswith("stalled for 90 s: ")
    assert head.why.endswith("ConnectError: no route")


async def test_head_is_found_without_reports() -> None:
    """The decision does not depend on the owner's report."""

    async def down() -> list[PartitionState]:
        raise StorageUnavailableError("no answer")

    head = await heads(Hub(0), MemoryParkingStore(), reports=down).find("0")
    assert (head.sequence_number, head.why) == (0, "")
