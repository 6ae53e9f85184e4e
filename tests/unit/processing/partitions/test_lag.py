"""The lag of a partition, compared with the first and the last event that the hub retains."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from azure.eventhub.aio import EventHubConsumerClient

from processing.errors import StorageUnavailableError
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import position_of
from processing.parking.memory import MemoryParkingStore
from processing.parking.store import WritingAs
from processing.partitions.checkpoints import Checkpoint
from processing.partitions.gaps import MemoryGapStore
from processing.partitions.hub_created import HubCreated
from processing.partitions.lag import LagReader, PartitionLag
from processing.progress.memory import MemoryProgressStore
from processing.progress.store import Mark
from tests.support.processing.events import IDENTITY, SOURCE, event

CREATED = 1_700_000_000_000
LATER = CREATED + 1_000


class OnePartition:
    """A hub's client; the only partition retains the events from `first` to `last`."""

    def __init__(self, first: int, last: int, *created: int) -> None:
        self.first, self.last = first, last
        self.created = list(created or [CREATED])
        self.asked = 0

    async def get_eventhub_properties(self) -> Mapping[str, Any]:
        self.asked += 1
        created_ms = self.created.pop(0) if len(self.created) > 1 else self.created[0]
        created_at = datetime.fromtimestamp(created_ms / 1000, UTC)
        return {"created_at": created_at, "partition_ids": ["0"]}

    async def get_partition_properties(self, _partition: str) -> Mapping[str, Any]:
        return {
            "is_empty": self.first > self.last,
            # The service answers with numbers of no meaning when a partition is empty.
            "beginning_sequence_number": min(self.first, self.last),
            "last_enqueued_sequence_number": self.last,
        }


class Reading:
    """The reading of one partition's lag."""

    def __init__(self) -> None:
        self.progress = MemoryProgressStore()
        self.gaps = MemoryGapStore()
        self.parking = MemoryParkingStore(self.progress)
        self.checkpoint: int | None = None
        self.checkpoint_written_ms = LATER
        self.checkpoints_away = False
        self.checkpoints_read = 0
        self.hub = OnePartition(0, -1)
        self.created = HubCreated(self.ask)

    async def read_checkpoint(self, _partition: str) -> Checkpoint | None:
        self.checkpoints_read += 1
        if self.checkpoints_away:
            raise StorageUnavailableError("the container cannot be read")
        if self.checkpoint is None:
            return None
        return Checkpoint(self.checkpoint, "", self.checkpoint_written_ms)

    async def lag(self, first: int, last: int, *created: int) -> PartitionLag:
        """Return the lag while the hub retains the events from `first` to `last`.

        Args:
            first: the first retained event.
            last: the last retained event.
            created: the hub's time of creation at each request; the last time stays.
        """
        self.hub = OnePartition(first, last, *created)
        reader = LagReader(
            cast("EventHubConsumerClient", self.hub),
            self.progress,
            IDENTITY,
            self.parking,
            gaps=self.gaps,
            checkpoint=self.read_checkpoint,
            created=self.created,
        )
        (found,) = (await reader.read()).partitions
        return found

    async def ask(self) -> int:
        return self.hub.created[0]


@pytest.fixture
def reading() -> Reading:
    return Reading()


async def finish(reading: Reading, watermark: int | None, *above: int) -> None:
    mark = None if watermark is None else Mark(watermark, LATER)
    await reading.progress.commit(SOURCE, 0, mark, [Mark(each, LATER) for each in above])


async def test_watermark_beyond_the_end_is_that_of_an_earlier_hub(reading: Reading) -> None:
    """All retained events of the recreated hub count, and the lag is not clipped to 0."""
    await finish(reading, 99)
    found = await reading.lag(0, 39)
    assert (found.recreated, found.lag, found.behind, found.expired) == (True, 40, 40, 0)


async def test_recreated_hub_without_events_is_seen(reading: Reading) -> None:
    await finish(reading, 99)
    found = await reading.lag(0, -1)
    assert (found.recreated, found.lag) == (True, 0)


async def test_finished_partition_is_not_recreated(reading: Reading) -> None:
    """The watermark is the hub's last event: nothing is behind."""
    await finish(reading, 39)
    found = await reading.lag(0, 39)
    assert (found.recreated, found.lag, found.expired) == (False, 0, 0)


async def test_expired_events_are_no_lag(reading: Reading) -> None:
    """Fifty events between the watermark and the hub's beginning are gone; five wait."""
    await finish(reading, 1)
    found = await reading.lag(52, 56)
    assert (found.lag, found.expired, found.recreated) == (5, 50, False)


async def test_empty_hub_does_not_hide_expired_events(reading: Reading) -> None:
    await finish(reading, 9)
    found = await reading.lag(60, 59)
    assert (found.lag, found.last_enqueued, found.expired) == (0, None, 50)


async def test_finished_events_have_not_expired_unread(reading: Reading) -> None:
    await finish(reading, 9, 12, 13, 25)
    assert (await reading.lag(20, 29)).expired == 8


async def test_events_before_a_later_checkpoint_were_passed_over_on_purpose(
    reading: Reading,
) -> None:
    await finish(reading, 9)
    reading.checkpoint = 14
    assert (await reading.lag(20, 29)).expired == 5
    reading.checkpoint = 3
    assert (await reading.lag(20, 29)).expired == 10
    reading.checkpoints_away = True
    assert (await reading.lag(20, 29)).expired == 10


async def test_checkpoint_stands_in_for_a_lost_watermark(reading: Reading) -> None:
    """The progress of an idle partition expires, and the checkpoint remains."""
    reading.checkpoint = 14
    found = await reading.lag(20, 29)
    assert (found.lag, found.expired) == (10, 5)
    reading.checkpoint = 26
    found = await reading.lag(20, 29)
    assert (found.lag, found.expired) == (3, 0)
    reading.checkpoint = 99
    found = await reading.lag(20, 29)
    assert (found.lag, found.recreated) == (10, True)


async def test_checkpoint_of_an_earlier_hub_passes_no_event_over(reading: Reading) -> None:
    """Redis has lost the progress, and the new hub has grown past the old checkpoint."""
    reading.checkpoint, reading.checkpoint_written_ms = 14, CREATED - 1001
    found = await reading.lag(0, 29)
    assert (found.lag, found.recreated, found.expired) == (30, True, 0)
    reading.checkpoint_written_ms = CREATED - 1000
    assert not (await reading.lag(0, 29)).recreated


async def test_nothing_is_known_of_events_before_the_app_existed(reading: Reading) -> None:
    assert (await reading.lag(20, 29)).expired == 0


async def test_checkpoint_is_read_only_at_a_gap(reading: Reading) -> None:
    """The survey reads the lag every few seconds, and the checkpoint is a blob."""
    await reading.lag(0, -1)
    await finish(reading, 9)
    await reading.lag(10, 29)
    await reading.lag(0, 5)
    assert reading.checkpoints_read == 0


async def test_deferred_events_count_beside_expired_ones(reading: Reading) -> None:
    await finish(reading, 9)
    owner = (await reading.parking.claim(SOURCE)).owner
    deferral = Deferral(DeferralReason.DEPENDENCY, error="TimeoutError: bank")
    entry = (position_of(event(3)), "{}")
    await reading.parking.defer(
        WritingAs(owner, ""), SOURCE, "k", entry, deferral=deferral, pause_seconds=1
    )
    found = await reading.lag(20, 24)
    assert (found.lag, found.behind, found.parked, found.deferred) == (6, 5, 1, 1)


async def test_event_that_is_finished_during_the_reading_is_no_recreated_hub(
    reading: Reading,
) -> None:
    """The progress is read before the hub; a later watermark would lie beyond the hub's end."""

    class Growing(OnePartition):
        async def get_partition_properties(self, partition: str) -> Mapping[str, Any]:
            found = await super().get_partition_properties(partition)
            self.last += 1
            await finish(reading, self.last)
            return found

    hub = Growing(0, 9)
    client = cast("EventHubConsumerClient", hub)
    reader = LagReader(client, reading.progress, IDENTITY)
    await finish(reading, 9)
    for _ in range(3):
        (found,) = (await reader.read()).partitions
        assert not found.recreated
    assert hub.last == 12


async def test_hub_that_has_grown_past_the_watermark_is_recognized_by_its_creation(
    reading: Reading,
) -> None:
    """Numbers cannot show it: the hub has more events than the earlier hub had."""
    await reading.progress.note_created(SOURCE, CREATED)
    await finish(reading, 99)
    found = await reading.lag(0, 149, CREATED + 500)
    assert (found.recreated, found.lag, found.expired) == (True, 150, 0)


async def test_progress_without_a_creation_time_is_older_than_a_later_hub(
    reading: Reading,
) -> None:
    """The progress of an older version of the app has the watermark's enqueued time only."""
    await finish(reading, 99)
    assert not (await reading.lag(0, 149, LATER)).recreated
    assert (await reading.lag(0, 149, LATER + 1)).recreated


async def test_progress_of_a_hub_that_is_recreated_during_the_reading_is_not_blamed(
    reading: Reading,
) -> None:
    """The progress was reset between two requests; the hub is asked again before the verdict."""
    owner = (await reading.progress.reset(SOURCE, LATER)).owner
    await reading.progress.commit(SOURCE, owner, Mark(3, LATER), [])
    found = await reading.lag(0, 9, CREATED, LATER)
    assert (found.recreated, found.lag, reading.hub.asked) == (False, 6, 2)


async def test_hub_is_described_once_per_reading(reading: Reading) -> None:
    await finish(reading, 3)
    await reading.lag(0, 9)
    assert reading.hub.asked == 1


async def test_reading_notes_the_creation_for_the_processor(reading: Reading) -> None:
    await reading.lag(0, 9, LATER)
    assert (reading.created.created_ms, await reading.created.latest()) == (LATER, LATER)
    assert reading.hub.asked == 1


async def test_gap_that_a_batch_has_noticed_is_not_pending(reading: Reading) -> None:
    """The gap is recorded before the first event behind it is finished."""
    await finish(reading, 1)
    await reading.gaps.record(SOURCE, 2, 51, created_ms=CREATED, handled=())
    found = await reading.lag(52, 56)
    assert (found.expired, [each.events for each in found.gaps]) == (0, [50])
    assert (await reading.lag(55, 56)).expired == 3


async def test_gap_of_an_earlier_hub_hides_nothing(reading: Reading) -> None:
    await finish(reading, 1)
    await reading.gaps.record(SOURCE, 0, 99, created_ms=CREATED - 1, handled=())
    assert (await reading.lag(52, 56)).expired == 50
