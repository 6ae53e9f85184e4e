"""A plan says what comes back, and one odd partition does not stop the others."""

from __future__ import annotations

import pytest

from processing.errors import CheckpointUnreadableError, StorageUnavailableError
from processing.identity import Source
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import position_of
from processing.parking.memory import MemoryParkingStore
from processing.parking.store import PartitionLists, WritingAs
from processing.partitions.checkpoints import Checkpoint
from processing.partitions.hub_changes import MemoryHubChanges
from processing.partitions.hub_range import HubRange
from processing.partitions.rewind_plan import (
    RewindPlan,
    RewindRefusedError,
    WarningKind,
    plan_document,
)
from processing.poison.discard_records import record_name
from processing.poison.memory import MemoryClaimChecks
from processing.progress.store import Mark
from tests.support.processing.events import IDENTITY, SOURCE, event
from tests.support.processing.rewind_rig import RewindSetup


def planned(plan: RewindPlan) -> list[tuple[str, int]]:
    """Return the partitions that are rewound, and their first events."""
    return [(step.partition, step.first) for step in plan.steps]


def left_out(plan: RewindPlan) -> dict[str, str]:
    """Return the reason of each partition that is left out."""
    return {each.partition: each.reason for each in plan.left_out}


def warnings(plan: RewindPlan) -> dict[WarningKind, str]:
    """Return the warnings of the plan's only step."""
    (step,) = plan.steps
    return {each.kind: each.text for each in step.warnings}


async def test_silent_partition_does_not_stop_the_others() -> None:
    setup = RewindSetup()
    setup.positions.silent = {"0"}
    plan = await setup.rewind.plan(None, None)
    assert planned(plan) == [("1", 5)]
    assert left_out(plan) == {"0": "event hub: partition 0 does not answer"}
    with pytest.raises(StorageUnavailableError, match="partition 0 does not answer"):
        await setup.rewind.plan(["0"], None)
    setup.positions.silent = {"0", "1"}  # no refusal: a repeat may help
    with pytest.raises(
        StorageUnavailableError, match=r"partition 0: event hub.*; partition 1: event"
    ):
        await setup.rewind.plan(None, None)


@pytest.mark.parametrize("to_marks", [False, True])
async def test_unexpected_error_of_a_partition_does_not_stop_the_others(
    to_marks: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A record in Redis may have a form that nobody has thought of; the log has its traceback."""

    class Odd(MemoryParkingStore):
        async def summary(self, source: Source) -> PartitionLists:
            if source.partition == "0":
                raise KeyError("sequencenumber")
            return await super().summary(source)

    setup = RewindSetup()
    setup.use_parking(Odd(setup.progress))
    for partition in ("0", "1"):
        await setup.park(7, source=Source(IDENTITY, partition))
    if to_marks:
        plan = await setup.rewind.plan_to_marks(None, force=True)
    else:
        plan = await setup.rewind.plan(None, None)
    assert [each.partition for each in plan.steps] == ["1"]
    assert left_out(plan) == {"0": "KeyError: 'sequencenumber'"}
    assert 'raise KeyError("sequencenumber")' in caplog.text


async def test_partition_that_cannot_start_there_does_not_stop_the_others() -> None:
    """Each partition has its own range; the sequence number is within one of them."""
    setup = RewindSetup()
    setup.positions.ranges["1"] = HubRange(60, 100)
    plan = await setup.rewind.plan(["0", "1"], 30)
    assert planned(plan) == [("0", 30)]
    assert "retains the events 60 to 99; event 30 is not among them" in left_out(plan)["1"]


async def test_unreadable_checkpoint_is_replaced_from_the_start_only() -> None:
    """No other start is known to skip nothing; `first` is the first retained event."""
    setup = RewindSetup()
    setup.checkpoints.unreadable = {"0"}
    plan = await setup.rewind.plan(None, None)
    assert planned(plan) == [("0", 5), ("1", 5)]
    (odd, _) = plan.steps
    assert odd.before is None
    assert "The rewind replaces it: the checkpoint of partition 0 is odd" in odd.note
    with pytest.raises(RewindRefusedError, match="--to-start replaces it") as refused:
        await setup.rewind.plan(["0"], 30)
    assert isinstance(refused.value.__cause__, CheckpointUnreadableError)
    await setup.rewind.run(plan.steps)
    assert setup.checkpoints.known["0"] == Checkpoint(4, "-1")


async def test_unreadable_mark_does_not_stop_the_others() -> None:
    setup = RewindSetup()
    await setup.park(40)
    setup.empty_redis()
    setup.marks.contents[Source(IDENTITY, "1")] = (b"garbage", "e", 0.0)
    plan = await setup.rewind.plan_to_marks(None)
    assert planned(plan) == [("0", 40)]
    assert "is not the mark of partition" in left_out(plan)["1"]


async def test_expired_events_are_counted() -> None:
    """The checkpoint and the watermark lie before the first retained event."""
    setup = RewindSetup()
    setup.checkpoints.known["0"] = Checkpoint(9, "900")
    owner = (await setup.parking.claim(SOURCE)).owner
    await setup.progress.commit(SOURCE, owner, Mark(19, event(19).enqueued_ms), [])
    setup.positions.kept = HubRange(50, 100)
    found = warnings(await setup.rewind.plan(["0"], None))
    assert "30 events are gone: the hub retains the events 20 to 49" in found[WarningKind.EXPIRED]
    setup.positions.kept = HubRange(20, 100)
    assert warnings(await setup.rewind.plan(["0"], None)) == {}, "every expired event was handled"


@pytest.mark.parametrize("reached", ["checkpoint", "watermark"])
async def test_recreated_hub_is_rewound_to_its_start_only(reached: str) -> None:
    """Its events up to the old checkpoint were never handled, so no start may skip them."""
    setup = RewindSetup()
    setup.positions.kept = HubRange(0, 40)
    if reached == "watermark":
        setup.checkpoints.known["0"] = Checkpoint(29, "2900")
        owner = (await setup.parking.claim(SOURCE)).owner
        await setup.progress.commit(SOURCE, owner, Mark(49, event(49).enqueued_ms), [])
    with pytest.raises(RewindRefusedError, match="was recreated; a start at 20 would skip 20 ev"):
        await setup.rewind.plan(["0"], 20)
    plan = await setup.rewind.plan(["0"], None)
    text = warnings(plan)[WarningKind.RECREATED]
    assert text.endswith(f": it ends before the {reached} 49")
    await setup.rewind.run(plan.steps)
    assert setup.checkpoints.known["0"] == Checkpoint(-1, "-1")
    assert (await setup.progress.load(SOURCE)).watermark is None
    assert warnings(await setup.rewind.plan(["0"], None)) == {}


@pytest.mark.parametrize("stored", [True, False])
async def test_recreated_hub_that_has_grown_is_rewound_to_its_start_only(stored: bool) -> None:
    """Its time of creation differs from the stored one, or is later than the watermark."""
    setup = RewindSetup()
    owner = (await setup.parking.claim(SOURCE)).owner
    await setup.progress.commit(SOURCE, owner, Mark(49, event(49).enqueued_ms), [])
    if stored:
        await setup.progress.note_created(SOURCE, setup.positions.created)
    assert warnings(await setup.rewind.plan(["0"], 20)) == {}
    setup.positions.created = event(50).enqueued_ms
    with pytest.raises(RewindRefusedError, match="was recreated; a start at 20 would skip 15 ev"):
        await setup.rewind.plan(["0"], 20)
    plan = await setup.rewind.plan(["0"], None)
    assert "The hub was recreated (created at 20" in warnings(plan)[WarningKind.RECREATED]
    await setup.rewind.run(plan.steps)
    assert (await setup.progress.load(SOURCE)).created_ms == setup.positions.created
    assert warnings(await setup.rewind.plan(["0"], None)) == {}


async def test_checkpoint_from_before_the_hub_is_not_trusted() -> None:
    """Without progress, the time of the checkpoint's write shows that it is of a deleted hub."""
    setup = RewindSetup()
    setup.checkpoints.known["0"] = Checkpoint(49, "4900", setup.positions.created - 1001)
    with pytest.raises(RewindRefusedError, match="was recreated; a start at 20 would skip 15 ev"):
        await setup.rewind.plan(["0"], 20)
    text = warnings(await setup.rewind.plan(["0"], None))[WarningKind.RECREATED]
    assert text.endswith(": the checkpoint 49 was written before that")


async def test_discarded_events_that_come_back_are_counted() -> None:
    """Records of other partitions, earlier events and other blobs do not count.

    An event that was discarded twice, the second time without its body, counts once.
    """
    setup = RewindSetup()
    for number, has_body in ((29, True), (30, True), (31, True), (31, False)):
        place = SOURCE, number, event(number).enqueued_ms
        await setup.claims.write(record_name(*place, has_body=has_body), b"")
    other = Source(IDENTITY, "1")
    await setup.claims.write(record_name(other, 40, event(40).enqueued_ms), b"")
    deleted_hub = setup.positions.created - 1
    await setup.claims.write(record_name(SOURCE, 40, deleted_hub), b"")
    await setup.claims.write(f"discarded/{SOURCE}/odd.json", b"")
    found = warnings(await setup.rewind.plan(["0"], 30))
    assert found == {
        WarningKind.DISCARDED: "The handler gets 2 events again that an operator has discarded "
        "(from event 30 on)"
    }
    assert warnings(await setup.rewind.plan(["0"], 32)) == {}


async def test_deferred_and_parked_keys_are_counted() -> None:
    setup = RewindSetup()
    await setup.park(40, 41)
    claim = await setup.parking.claim(SOURCE)
    for number in (42, 43, 44):
        await setup.parking.defer(
            WritingAs(claim.owner, claim.mark),
            SOURCE,
            "d",
            (position_of(event(number)), "p"),
            deferral=Deferral(DeferralReason.DEPENDENCY),
            pause_seconds=1.0,
        )
    found = warnings(await setup.rewind.plan(["0"], 30))
    assert found[WarningKind.LISTS].startswith(
        "1 deferred key and 2 parked keys have 5 events in their lists"
    )


async def test_warning_that_cannot_be_made_is_said() -> None:
    """The rewind itself needs no records, so it works without them."""

    class Silent(MemoryClaimChecks):
        async def names(self, prefix: str) -> list[str]:
            raise StorageUnavailableError(f"poison blobs {prefix}: down")

    setup = RewindSetup(claims=Silent())
    found = warnings(await setup.rewind.plan(["0"], 30))
    assert "is not known: poison blobs discarded/" in found[WarningKind.UNKNOWN]


async def test_rewind_of_a_grown_hub_warns_that_keys_have_moved() -> None:
    """The events of one key come back from two partitions, without an order between them."""
    setup = RewindSetup()
    assert (await setup.rewind.plan(["0"], None)).warnings == ()
    setup.changes = MemoryHubChanges()
    setup.use_parking(setup.parking)
    await setup.park(7)
    await setup.changes.observe(setup.positions.created, 1)
    plan = await setup.rewind.plan(["0"], None)
    (warning,) = plan.warnings
    assert "1 key waits since before the change ('k7' in partition 0); redrive" in warning.text
    assert "without an order between the partitions" in warning.text
    assert warning.kind is WarningKind.MOVED
    assert warning.text.startswith("The hub has 2 partitions and had 1 until ")
    assert plan_document(plan)["warnings"] == [{"kind": "moved", "text": warning.text}]
