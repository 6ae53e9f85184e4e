"""Rewinds move a checkpoint back only, and only while no instance would overwrite it."""

from __future__ import annotations

import pytest

from processing.errors import AppRunningError, ParkedEventsLostError, StorageUnavailableError
from processing.identity import Source
from processing.parking.event import extended, position_of
from processing.parking.marks import Oldest, ParkingMark
from processing.parking.memory import MemoryParkingStore
from processing.parking.store import WritingAs
from processing.partitions.checkpoints import Checkpoint, Ownership
from processing.partitions.hub_range import HubRange
from processing.partitions.rewind_plan import RewindRefusedError, WarningKind
from processing.progress.store import Mark, Progress
from tests.support.processing.events import IDENTITY, SOURCE, event
from tests.support.processing.rewind_rig import RewindSetup


async def test_rewind_to_an_event_moves_the_checkpoint_and_clears_progress() -> None:
    """The checkpoint is set to the event before, and the partition's progress is empty."""
    setup = RewindSetup()
    owner = (await setup.parking.claim(SOURCE)).owner
    await setup.progress.commit(SOURCE, owner, Mark(49, event(49).enqueued_ms), [])
    (step,) = (await setup.rewind.plan(["0"], 30)).steps
    assert (step.first, step.before, step.events) == (30, 49, 20)
    assert setup.checkpoints.known["0"] == Checkpoint(49, "4900"), "a plan changes nothing"
    await setup.rewind.run([step])
    assert setup.checkpoints.known["0"] == Checkpoint(29, "2900")
    assert await setup.progress.load(SOURCE) == Progress(created_ms=setup.positions.created)


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
    steps = (await setup.rewind.plan(None, None)).steps
    assert [(step.partition, step.before, step.events) for step in steps] == [
        ("0", 49, 45),
        ("1", None, 0),
    ]


async def test_rewind_forgets_redriven_events() -> None:
    """Events behind the rewind position are processed again, also when a redrive replayed them."""
    setup = RewindSetup()
    claim = await setup.parking.claim(SOURCE)
    place = position_of(event(40))
    await setup.parking.poison(WritingAs(claim.owner, ""), SOURCE, "k", place, "p")
    lease = await setup.parking.lease(SOURCE, "k", "t", 1000)
    assert lease is not None
    await setup.parking.finish(SOURCE, "k", "t", place, epoch=lease.epoch)
    await setup.run("0", 41)
    assert (await setup.parking.claim(SOURCE, ["k"])).replayed == {"k": extended("", place)}
    setup.positions.enqueued_ms = event(40).enqueued_ms  # event 39 has the same enqueued time
    await setup.run("0", 40)
    assert (await setup.parking.claim(SOURCE, ["k"])).replayed == {}


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
    with pytest.raises(AppRunningError, match="3 s ago: it owns partition 0"):
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


async def test_expired_events_do_not_refuse_a_rewind_to_the_start() -> None:
    """The checkpoint lies before the first retained event, so the rewind skips nothing."""
    setup = RewindSetup()
    setup.checkpoints.known["0"] = Checkpoint(2, "200")
    await setup.run("0", None)
    assert setup.checkpoints.known["0"] == Checkpoint(4, "-1")


async def test_rewind_to_the_mark_brings_back_what_redis_has_lost() -> None:
    """The partition continues from the oldest parked event, without its mark."""
    setup = RewindSetup()
    marks = await setup.park(40, 44)
    setup.empty_redis()
    with pytest.raises(ParkedEventsLostError):
        await marks.check(SOURCE, await setup.parking.claim(SOURCE))
    # A batch that was in flight has committed events after the loss.
    late = (await setup.parking.claim(SOURCE)).owner
    await setup.progress.commit(SOURCE, late, Mark(49, event(49).enqueued_ms), [])
    (step,) = (await setup.rewind.plan_to_marks(None)).steps
    assert (step.partition, step.first, step.before, step.events) == ("0", 40, 49, 10)
    assert step.note == ""
    assert SOURCE in setup.marks.contents, "a plan changes nothing"
    epoch = setup.progress.epoch(SOURCE)
    await setup.rewind.run([step])
    assert setup.checkpoints.known["0"] == Checkpoint(39, "3900")
    assert await setup.progress.load(SOURCE) == Progress(created_ms=setup.positions.created)
    assert setup.progress.epoch(SOURCE) > epoch
    await marks.check(SOURCE, await setup.parking.claim(SOURCE))
    with pytest.raises(RewindRefusedError, match="partition 0 has no mark; partition 1 has no"):
        await setup.rewind.plan_to_marks(None)


async def test_rewind_to_the_mark_starts_at_the_first_retained_event_at_the_earliest() -> None:
    """The note says how many events may be gone."""
    setup = RewindSetup()
    await setup.park(2)
    setup.empty_redis()
    (step,) = (await setup.rewind.plan_to_marks(["0"])).steps
    assert (step.first, step.events) == (5, 45)
    assert "no longer retains the events 2 to 4. Up to 3 events" in step.note
    await setup.rewind.run([step])
    assert setup.checkpoints.known["0"] == Checkpoint(4, "-1")


async def test_rewind_to_a_mark_above_the_checkpoint_moves_nothing() -> None:
    """The instance died before the checkpoint passed the parked event."""
    setup = RewindSetup()
    await setup.park(60)
    setup.empty_redis()
    (step,) = (await setup.rewind.plan_to_marks(["0"])).steps
    assert (step.first, step.events) == (50, 0)
    await setup.rewind.run([step])
    assert setup.checkpoints.known["0"] == Checkpoint(49, "4900")
    assert setup.marks.contents == {}


@pytest.mark.parametrize(("checkpoint", "first"), [(49, 50), (6000, 5)])
async def test_rewind_to_the_mark_of_a_deleted_hub_repeats_nothing_unnecessary(
    checkpoint: int, first: int
) -> None:
    """If the checkpoint is of the deleted hub, too, the new hub is processed from its start."""
    setup = RewindSetup()
    await setup.park(5000)
    setup.empty_redis()
    setup.checkpoints.known["0"] = Checkpoint(checkpoint, "1")
    (step,) = (await setup.rewind.plan_to_marks(["0"])).steps
    assert step.first == first
    assert "The hub was recreated and has no event 5000" in step.note
    await setup.rewind.run([step])
    assert setup.marks.contents == {}


async def test_rewind_to_the_mark_is_refused_while_redis_has_the_token() -> None:
    """Nothing is lost. With --force, the mark stays because the lists are still there."""
    setup = RewindSetup()
    await setup.park(40)
    for partitions in (["0"], None):
        with pytest.raises(RewindRefusedError, match="Redis has the token of partition 0's mark"):
            await setup.rewind.plan_to_marks(partitions)
    with pytest.raises(RewindRefusedError, match="partition 1 has no mark"):
        await setup.rewind.plan_to_marks(["1"], force=True)
    with pytest.raises(RewindRefusedError, match="no partition '7'"):
        await setup.rewind.plan_to_marks(["7"])
    await setup.rewind.run((await setup.rewind.plan_to_marks(["0"], force=True)).steps, force=True)
    assert setup.checkpoints.known["0"] == Checkpoint(39, "3900")
    assert (await setup.parking.summary(SOURCE)).mark
    assert SOURCE in setup.marks.contents


async def test_forced_rewind_drops_a_token_without_lists() -> None:
    """Otherwise the next loss of Redis would be noticed although no event is parked."""
    setup = RewindSetup()
    await setup.park(40)
    await setup.parking.lease(SOURCE, "k40", "t", 1000)
    await setup.parking.finish(SOURCE, "k40", "t", position_of(event(40)))
    await setup.rewind.run((await setup.rewind.plan_to_marks(["0"], force=True)).steps)
    assert (await setup.parking.summary(SOURCE)).mark == ""
    assert setup.marks.contents == {}


async def test_rewind_of_all_partitions_to_their_marks_skips_those_that_lost_nothing() -> None:
    """A partition that has parked again after the loss keeps its position."""
    setup = RewindSetup()
    other = Source(IDENTITY, "1")
    await setup.park(40)
    setup.empty_redis()
    await setup.park(10, source=other)
    assert [step.partition for step in (await setup.rewind.plan_to_marks(None)).steps] == ["0"]


@pytest.mark.parametrize(
    ("to", "says"),
    [
        (45, "lost parked events from event 40 on. A start at 45 leaves out up to 5 of them. The"),
        (40, "lost parked events from event 40 on. The partition still holds"),
        (None, "lost parked events from event 40 on. The partition still holds"),
    ],
)
async def test_other_rewind_warns_while_parked_events_are_lost(to: int | None, says: str) -> None:
    """The mark stays, and the warning names --to-mark."""
    setup = RewindSetup()
    await setup.park(40)
    (step,) = (await setup.rewind.plan(["0"], to)).steps
    assert [each.kind for each in step.warnings] == [WarningKind.LISTS]
    setup.empty_redis()
    (step,) = (await setup.rewind.plan(["0"], to)).steps
    assert says in step.note
    assert "--to-mark" in step.note
    await setup.rewind.run([step])
    assert SOURCE in setup.marks.contents


async def test_other_rewind_names_an_unreadable_mark() -> None:
    """The rewind works, because the mark does not matter for it."""
    setup = RewindSetup()
    setup.marks.contents[SOURCE] = (b"garbage", "e", 0.0)
    (step,) = (await setup.rewind.plan(["0"], 40)).steps
    assert "is not the mark of partition" in step.note


async def test_rewind_to_the_mark_can_be_repeated_after_an_error() -> None:
    """The mark goes last, so the partition holds until everything is done."""

    class FailingParking(MemoryParkingStore):
        fails = True

        async def forget(self, source: Source, after: str) -> None:
            if self.fails:
                raise ParkedEventsLostError("down")
            await super().forget(source, after)

    setup = RewindSetup()
    failing = FailingParking(setup.progress)
    setup.use_parking(failing)
    mark = ParkingMark(SOURCE, "t", Oldest(40, event(40).enqueued_ms), 1)
    await setup.marks.write(mark, None)
    with pytest.raises(ParkedEventsLostError):
        await setup.rewind.run((await setup.rewind.plan_to_marks(["0"])).steps)
    assert SOURCE in setup.marks.contents
    failing.fails = False
    await setup.rewind.run((await setup.rewind.plan_to_marks(["0"])).steps)
    assert setup.marks.contents == {}


async def test_mark_stays_until_the_replicas_have_the_rewind() -> None:
    """A switch to a replica without the reset would skip the events that the mark names."""
    setup = RewindSetup()
    await setup.park(40)
    setup.parking.clear()
    steps = (await setup.rewind.plan_to_marks(["0"])).steps

    async def unconfirmed() -> bool:
        return False

    confirm = setup.parking.confirm
    setup.parking.confirm = unconfirmed  # type: ignore[method-assign]
    with pytest.raises(StorageUnavailableError, match="rewound to event 40"):
        await setup.rewind.run(steps)
    assert await setup.marks.read(SOURCE) is not None
    setup.parking.confirm = confirm  # type: ignore[method-assign]
    await setup.rewind.run(steps)
    assert await setup.marks.read(SOURCE) is None


async def test_number_that_no_event_has_skips_no_event() -> None:
    """A compacted hub lacks numbers, and an event can expire before the rewind."""
    setup = RewindSetup()
    setup.positions.missing = {"0": {29}}
    await setup.run("0", 30)
    assert setup.checkpoints.known["0"] == Checkpoint(29, "")
