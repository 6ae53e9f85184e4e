"""Marks show that Redis has lost parked events, and only then."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace

import pytest

from processing.errors import OwnershipLostError, ParkedEventsLostError, StorageUnavailableError
from processing.identity import Source
from processing.parking.event import position_of
from processing.parking.marks import (
    MarkConflictError,
    MarkInUseError,
    Oldest,
    ParkingMark,
    StoredMark,
    drop_mark,
)
from processing.parking.memory import MemoryParkingStore
from processing.parking.memory_marks import MemoryMarkStore
from processing.parking.partition_marks import PartitionMarks
from processing.parking.store import Claim, WritingAs
from processing.progress.store import Mark
from tests.support.processing.events import SOURCE, event


class Instance:
    """An instance of the app on shared stores."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.marks = PartitionMarks(setup.marks, setup.parking)

    async def claim(self) -> Claim:
        """Claim the partition, and compare the claim with the mark."""
        claim = await self.setup.parking.claim(SOURCE, ["k"])
        await self.marks.check(SOURCE, claim)
        return claim

    async def park(self, claim: Claim, number: int) -> WritingAs:
        """Park an event behind itself; `number` is also the batch's oldest event."""
        writing = await self.marks.writing_as(SOURCE, claim, event(number))
        place = position_of(event(number))
        await self.setup.parking.poison(writing, SOURCE, f"k{number}", place, "p")
        return writing


@dataclass
class Setup:
    """The stores of a fleet."""

    parking: MemoryParkingStore = field(default_factory=MemoryParkingStore)
    marks: MemoryMarkStore = field(default_factory=MemoryMarkStore)

    def empty_redis(self) -> None:
        self.parking.clear()
        self.parking.progress.clear()

    async def redrive(self) -> None:
        """Handle all parked events."""
        for parked in await self.parking.keys():
            await self.parking.lease(SOURCE, parked.key, "t", 1000)
            for entry in await self.parking.entries(SOURCE, parked.key):
                await self.parking.finish(SOURCE, parked.key, "t", entry.position)

    async def oldest(self) -> int | None:
        found = await self.marks.read(SOURCE)
        return None if found is None else found.mark.oldest.sequence_number

    async def token(self) -> str:
        return (await self.parking.summary(SOURCE)).mark


async def test_healthy_partition_reads_its_mark_once() -> None:
    """Later claims of the same instance cost no request, and nothing is written."""
    setup = Setup()
    instance = Instance(setup)
    for _ in range(5):
        await instance.claim()
    assert (setup.marks.reads, setup.marks.writes) == (1, 0)
    other = Instance(setup)
    await other.claim()
    await instance.claim()
    assert setup.marks.reads == 3, "each instance reads after a claim of another instance"


async def test_parking_partition_writes_its_mark_once() -> None:
    """Batches that park more events behind the oldest one cost no request."""
    setup = Setup()
    instance = Instance(setup)
    for number in range(40, 45):
        claim = await instance.claim()
        writing = await instance.park(claim, number)
        assert writing == WritingAs(claim.owner, await setup.token())
    assert (setup.marks.reads, setup.marks.writes) == (1, 1)
    assert await setup.oldest() == 40


async def test_emptied_redis_is_noticed_by_the_instance_that_parked() -> None:
    """The error names the command and the position."""
    setup = Setup()
    instance = Instance(setup)
    await instance.park(await instance.claim(), 40)
    setup.empty_redis()
    for _ in range(2):
        with pytest.raises(
            ParkedEventsLostError, match=r"rewind --to-mark.* begin at event 40 \(enqueued at 2023"
        ):
            await instance.claim()


async def test_emptied_redis_is_noticed_by_a_new_instance() -> None:
    """A new process knows nothing of the partition and reads its mark."""
    setup = Setup()
    instance = Instance(setup)
    await instance.park(await instance.claim(), 40)
    setup.empty_redis()
    with pytest.raises(ParkedEventsLostError):
        await Instance(setup).claim()


async def test_emptied_redis_without_parked_events_is_no_loss() -> None:
    """No mark, or a mark whose lists were empty at the instance's latest claim: nothing is lost."""
    setup = Setup()
    instance = Instance(setup)
    await instance.claim()
    setup.empty_redis()
    await instance.claim()
    await instance.park(await instance.claim(), 40)
    await setup.redrive()
    await instance.claim()
    setup.empty_redis()
    claim = await instance.claim()
    token = json.loads(setup.marks.contents[SOURCE][0])["token"]
    await instance.park(claim, 60)
    assert (await setup.token(), await setup.oldest()) == (token, 60)
    setup.empty_redis()
    with pytest.raises(ParkedEventsLostError):
        await instance.claim()


async def test_events_of_another_instance_are_not_overlooked() -> None:
    """An instance that found no list does not conclude that there is none after another's claim."""
    setup = Setup()
    first, second = Instance(setup), Instance(setup)
    await first.park(await first.claim(), 40)
    await setup.redrive()
    await first.claim()
    await second.park(await second.claim(), 60)
    setup.empty_redis()
    with pytest.raises(ParkedEventsLostError):
        await first.claim()


async def test_commit_to_an_emptied_redis_hides_no_loss() -> None:
    """A commit makes a stale writer the owner again, but is not that instance's claim."""
    setup = Setup()
    first, second = Instance(setup), Instance(setup)
    stale = await first.claim()
    await second.park(await second.claim(), 40)
    setup.empty_redis()
    progress = setup.parking.progress
    assert await progress.commit(SOURCE, stale.owner, Mark(50, event(50).enqueued_ms), [])
    with pytest.raises(ParkedEventsLostError):
        await first.claim()


@pytest.mark.parametrize("commits", [False, True])
async def test_redis_that_is_emptied_between_two_writes_takes_no_second_write(
    commits: bool,
) -> None:
    """Otherwise the second write would create the token again, and hide the loss of the first."""
    setup = Setup()
    instance = Instance(setup)
    claim = await instance.claim()
    await instance.park(claim, 40)
    setup.empty_redis()
    if commits:
        await setup.parking.progress.commit(SOURCE, claim.owner, None, [])
    with pytest.raises(ParkedEventsLostError if commits else OwnershipLostError):
        await instance.park(claim, 41)
    with pytest.raises(ParkedEventsLostError):
        await instance.claim()


async def test_redis_that_is_emptied_between_claim_and_first_write_loses_nothing() -> None:
    """No event was parked, so the redelivered batch parks its events."""
    setup = Setup()
    instance = Instance(setup)
    claim = await instance.claim()
    setup.empty_redis()
    with pytest.raises(OwnershipLostError):
        await instance.park(claim, 40)
    assert await setup.oldest() is None, "the token comes first, so no mark was written"
    await instance.park(await instance.claim(), 40)
    assert await setup.oldest() == 40


async def test_lanes_that_park_at_the_same_time_share_one_token() -> None:
    """Only one of them places the token, so no right can create the token a second time."""
    setup = Setup()
    instance = Instance(setup)
    claim = await instance.claim()
    rights = await asyncio.gather(*(instance.park(claim, number) for number in range(40, 50)))
    assert {right.mark for right in rights} == {await setup.token()}
    assert not any(right.creates for right in rights)
    assert (setup.marks.writes, await setup.oldest()) == (1, 40)


class Crash(BaseException):
    """The end of the process."""


class CrashingMarks(MemoryMarkStore):
    """A store whose next write ends the process."""

    crashes = True

    async def write(self, mark: ParkingMark, etag: str | None) -> StoredMark:
        if self.crashes:
            self.crashes = False
            raise Crash
        return await super().write(mark, etag)


@pytest.mark.parametrize("emptied", [False, True])
async def test_crash_between_token_and_mark_is_no_loss(emptied: bool) -> None:
    """The next owner continues with the token, or with a new one in an emptied Redis."""
    setup = Setup(marks=CrashingMarks())
    instance = Instance(setup)
    with pytest.raises(Crash):
        await instance.park(await instance.claim(), 40)
    if emptied:
        setup.empty_redis()
    after = Instance(setup)
    await after.park(await after.claim(), 40)
    assert await setup.oldest() == 40
    setup.empty_redis()
    with pytest.raises(ParkedEventsLostError):
        await Instance(setup).claim()


async def test_mark_is_lowered_for_earlier_events() -> None:
    """Both the number and the time of the bound are at or below each parked event."""
    setup = Setup()
    instance = Instance(setup)
    claim = await instance.claim()
    await instance.park(claim, 40)
    await instance.park(claim, 30)
    early = event(50, enqueued_ms=1_700_000_000_001)
    await instance.marks.writing_as(SOURCE, claim, early)
    stored = await setup.marks.read(SOURCE)
    assert stored is not None
    assert stored.mark.oldest == Oldest(30, 1_700_000_000_001, "3000")


async def test_mark_is_raised_while_no_event_is_parked() -> None:
    """A rewind would otherwise repeat more events than necessary."""
    setup = Setup()
    instance = Instance(setup)
    claim = await instance.claim()
    await instance.park(claim, 40)
    await setup.redrive()
    await instance.park(claim, 50)
    assert await setup.oldest() == 40, "this claim has parked event 40"
    await setup.redrive()
    claim = await instance.claim()
    await instance.park(claim, 60)
    await instance.park(claim, 55)
    assert await setup.oldest() == 55


async def test_mark_of_a_recreated_hub_follows_the_new_hub() -> None:
    """The new hub's sequence numbers start at zero."""
    setup = Setup()
    instance = Instance(setup)
    await instance.park(await instance.claim(), 5000)
    new = event(3, enqueued_ms=1_800_000_000_000)
    await instance.marks.writing_as(SOURCE, await instance.claim(), new)
    stored = await setup.marks.read(SOURCE)
    assert stored is not None
    assert stored.mark.oldest == Oldest(3, 1_700_000_005_000, "300"), "both hubs have parked events"
    await setup.redrive()
    await instance.marks.writing_as(SOURCE, await instance.claim(), new)
    stored = await setup.marks.read(SOURCE)
    assert stored is not None
    assert stored.mark.oldest == Oldest(3, 1_800_000_000_000, "300")


async def test_stale_owner_does_not_raise_the_mark() -> None:
    """The later owner has parked an event that the mark already included."""
    setup = Setup()
    first, stale, later = Instance(setup), Instance(setup), Instance(setup)
    await first.park(await first.claim(), 40)
    await setup.redrive()
    old = await stale.claim()
    await later.park(await later.claim(), 40)
    with pytest.raises(OwnershipLostError):
        await stale.park(old, 90)
    assert await setup.oldest() == 40


class SlowMarks(MemoryMarkStore):
    """A store whose writes of one owner wait for a signal."""

    slow = 0
    signal: asyncio.Event

    async def write(self, mark: ParkingMark, etag: str | None) -> StoredMark:
        if mark.owner == self.slow:
            await self.signal.wait()
        return await super().write(mark, etag)


async def test_stale_owner_whose_write_arrives_last_changes_nothing() -> None:
    """The stale owner had placed the token before the later claim."""
    marks = SlowMarks()
    marks.signal = asyncio.Event()
    setup = Setup(marks=marks)
    stale, later = Instance(setup), Instance(setup)
    old = await stale.claim()
    marks.slow = old.owner
    writing = asyncio.create_task(stale.park(old, 90))
    while not await setup.token():
        await asyncio.sleep(0)
    claim = await later.claim()
    await later.park(claim, 40)
    marks.signal.set()
    with pytest.raises(OwnershipLostError):
        await writing
    stored = await marks.read(SOURCE)
    assert stored is not None
    assert (stored.mark.oldest.sequence_number, stored.mark.owner) == (40, claim.owner)


async def test_mark_that_a_stale_owner_wrote_too_late_is_replaced() -> None:
    """Redis was emptied after the stale owner placed its token; it could park nothing."""
    marks = SlowMarks()
    marks.signal = asyncio.Event()
    setup = Setup(marks=marks)
    stale, later = Instance(setup), Instance(setup)
    old = await stale.claim()
    marks.slow = old.owner
    writing = asyncio.create_task(stale.park(old, 90))
    while not await setup.token():
        await asyncio.sleep(0)
    setup.empty_redis()
    claim = await later.claim()
    marks.signal.set()
    with pytest.raises(OwnershipLostError):
        await writing
    assert await setup.oldest() == 90
    await later.park(claim, 40)
    assert await setup.oldest() == 40
    await later.claim()


async def test_other_token_in_redis_is_a_loss() -> None:
    """Redis was restored from a copy that is older than the mark."""
    setup = Setup()
    instance = Instance(setup)
    await instance.park(await instance.claim(), 40)
    stored = await setup.marks.read(SOURCE)
    assert stored is not None
    await setup.marks.write(replace(stored.mark, token="another"), stored.etag)
    with pytest.raises(ParkedEventsLostError):
        await Instance(setup).claim()


async def test_lists_of_an_earlier_version_get_a_mark_at_the_next_claim() -> None:
    """The mark includes the lists' first events."""
    setup = Setup()
    claim = await setup.parking.claim(SOURCE)
    unmarked = WritingAs(claim.owner, "")
    for number in (45, 41, 43):
        place = position_of(event(number))
        await setup.parking.poison(unmarked, SOURCE, f"k{number}", place, "p")
    await Instance(setup).claim()
    assert await setup.oldest() == 41
    assert await setup.token()
    setup.empty_redis()
    with pytest.raises(ParkedEventsLostError):
        await Instance(setup).claim()


async def test_deleted_mark_is_written_again() -> None:
    """A lifecycle rule may delete the blob while Redis still has lists and the token."""
    setup = Setup()
    instance = Instance(setup)
    await instance.park(await instance.claim(), 40)
    setup.marks.contents.clear()
    await Instance(setup).claim()
    assert await setup.oldest() == 40
    claim = await instance.claim()
    setup.marks.contents.clear()
    early = event(50, enqueued_ms=1_700_000_000_001)
    await instance.marks.writing_as(SOURCE, claim, early)
    assert await setup.oldest() == 40, "the bound includes the lists"


async def test_claim_after_a_later_claim_of_the_same_instance_is_refused() -> None:
    """An invocation that was slow between its claim and the comparison owns nothing."""
    setup = Setup()
    instance = Instance(setup)
    slow = await setup.parking.claim(SOURCE)
    claim = await instance.claim()
    with pytest.raises(OwnershipLostError):
        await instance.marks.check(SOURCE, slow)
    with pytest.raises(OwnershipLostError):
        await instance.marks.writing_as(SOURCE, slow, event(1))
    await instance.park(claim, 40)
    await setup.redrive()
    await instance.claim()
    with pytest.raises(OwnershipLostError):
        await instance.marks.writing_as(SOURCE, claim, event(90))
    assert await setup.oldest() == 40


class ConflictingMarks(MemoryMarkStore):
    """A store where another writer is always faster."""

    async def write(self, mark: ParkingMark, etag: str | None) -> StoredMark:
        raise MarkConflictError("changed")


async def test_endless_conflicts_are_a_storage_error() -> None:
    """The caller holds and repeats; the loop ends."""
    setup = Setup(marks=ConflictingMarks())
    instance = Instance(setup)
    with pytest.raises(StorageUnavailableError, match="changed 10 times"):
        await instance.park(await instance.claim(), 40)


async def test_dropped_mark_lets_the_partition_continue() -> None:
    """The record names the operator, the reason and the mark."""
    setup = Setup()
    instance = Instance(setup)
    await instance.park(await instance.claim(), 40)
    token = await setup.token()
    with pytest.raises(MarkInUseError, match="no parked event is lost"):
        await drop_mark(setup.marks, setup.parking, SOURCE, by="op", reason="why")
    setup.empty_redis()
    with pytest.raises(ParkedEventsLostError):
        await instance.claim()
    oldest = await drop_mark(setup.marks, setup.parking, SOURCE, by="op", reason="why")
    assert oldest == Oldest(40, event(40).enqueued_ms, "4000")
    await instance.park(await instance.claim(), 60)
    assert await setup.oldest() == 60
    record = json.loads(setup.marks.dropped[SOURCE, token])
    assert (record["by"], record["reason"]) == ("op", "why")
    assert json.loads(record["mark"])["oldest"]["sequence_number"] == 40


async def test_unreadable_mark_can_be_dropped() -> None:
    """The record has the blob's content; without a mark, nothing is recorded."""
    setup = Setup()
    assert await drop_mark(setup.marks, setup.parking, SOURCE, by="op", reason="why") is None
    setup.marks.contents[SOURCE] = (b"garbage", "e", 0.0)
    instance = Instance(setup)
    with pytest.raises(StorageUnavailableError, match="is not the mark"):
        await instance.claim()
    assert await drop_mark(setup.marks, setup.parking, SOURCE, by="op", reason="why") is None
    assert json.loads(setup.marks.dropped[SOURCE, "unreadable"])["mark"] == "garbage"
    await instance.claim()


async def test_partitions_have_separate_marks() -> None:
    """The loss of one partition's events does not hold another partition."""
    setup = Setup()
    instance = Instance(setup)
    await instance.park(await instance.claim(), 40)
    setup.empty_redis()
    other = Source(SOURCE.identity, "1")
    claim = await setup.parking.claim(other)
    await instance.marks.check(other, claim)
    await instance.marks.writing_as(other, claim, event(1, source=other))
    with pytest.raises(ParkedEventsLostError):
        await instance.claim()
