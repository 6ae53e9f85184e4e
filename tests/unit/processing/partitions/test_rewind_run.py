"""A run checks the owners at each write, ends an epoch, and records what it has changed."""

from __future__ import annotations

import pytest

from processing.errors import AppRunningError, StorageUnavailableError
from processing.identity import Source
from processing.parking.memory import MemoryParkingStore
from processing.partitions.checkpoints import Checkpoint, Ownership
from processing.partitions.rewind import RewindRecord, changes
from tests.support.processing.events import IDENTITY, SOURCE
from tests.support.processing.rewind_rig import RewindSetup

OTHER = Source(IDENTITY, "1")


async def test_each_path_raises_the_epoch() -> None:
    """A finish of an older epoch notes nothing, so each rewind must end the epoch."""
    setup = RewindSetup()
    await setup.park(40)
    setup.empty_redis()
    for plan in (
        await setup.rewind.plan_to_marks(None),
        await setup.rewind.plan(["0"], 30),
        await setup.rewind.plan(["0"], 5),
        await setup.rewind.plan(["0"], None),
        await setup.rewind.plan(None, None),
    ):
        epochs = {
            step.partition: setup.progress.epoch(source_of(step.partition)) for step in plan.steps
        }
        await setup.rewind.run(plan.steps)
        for partition, epoch in epochs.items():
            assert setup.progress.epoch(source_of(partition)) > epoch


def source_of(partition: str) -> Source:
    return Source(IDENTITY, partition)


async def test_app_that_starts_in_the_middle_ends_the_run() -> None:
    """The owners are read again before each write."""
    setup = RewindSetup()
    plan = await setup.rewind.plan(None, None)
    record = RewindRecord()

    class Starting(MemoryParkingStore):
        async def forget(self, source: Source, after: str) -> None:
            setup.checkpoints.owned = [Ownership("1", "host", 0.0)]

    setup.use_parking(Starting(setup.progress))
    with pytest.raises(AppRunningError, match="it owns partition 1"):
        await setup.rewind.run(plan.steps, record=record)
    assert (record.done, record.begun) == (["0"], "")
    assert "1" not in setup.checkpoints.known


async def test_app_that_starts_after_the_write_is_noticed() -> None:
    """The host may have read the old checkpoint, and would overwrite the new one."""
    setup = RewindSetup()
    plan = await setup.rewind.plan(["0"], None)

    class Starting(MemoryParkingStore):
        async def forget(self, source: Source, after: str) -> None:
            setup.checkpoints.owned = [Ownership("0", "host", 0.0)]

    setup.use_parking(Starting(setup.progress))
    with pytest.raises(AppRunningError, match=r"was started during the rewind.* of partition 0"):
        await setup.rewind.run(plan.steps)


async def test_record_names_the_partition_whose_rewind_did_not_end() -> None:
    setup = RewindSetup()

    class Failing(MemoryParkingStore):
        async def forget(self, source: Source, after: str) -> None:
            if source == OTHER:
                raise StorageUnavailableError("redis: down")

    setup.use_parking(Failing(setup.progress))
    plan, record = await setup.rewind.plan(None, None), RewindRecord()
    with pytest.raises(StorageUnavailableError):
        await setup.rewind.run(plan.steps, record=record)
    assert (record.done, record.begun) == (["0"], "1")


async def test_run_that_is_stopping_begins_no_further_partition() -> None:
    setup = RewindSetup()
    plan, record = await setup.rewind.plan(None, None), RewindRecord()
    await setup.rewind.run(plan.steps, record=record, stopping=lambda: bool(record.done))
    assert (record.done, record.begun) == (["0"], "")
    assert setup.checkpoints.known == {"0": Checkpoint(4, "-1")}
    assert (await setup.progress.load(SOURCE)).watermark is None


async def test_position_that_cannot_be_read_does_not_stop_the_others() -> None:
    """A plan reads no event: the receivers of a running app refuse those of others."""
    setup = RewindSetup()
    setup.checkpoints.known["1"] = Checkpoint(49, "4900")
    setup.positions.unreadable = {("0", 29)}
    plan, record = await setup.rewind.plan(["0", "1"], 30), RewindRecord()
    with pytest.raises(StorageUnavailableError, match="event 29 cannot be read"):
        await setup.rewind.run(plan.steps, record=record)
    assert (record.done, list(record.refused)) == (["1"], ["0"])
    assert setup.checkpoints.known == {"0": Checkpoint(49, "4900"), "1": Checkpoint(29, "2900")}
    assert changes(plan.steps, record) == [
        "Rewound: partition 1 to event 30.",
        "Not changed: partition 0.",
    ]
