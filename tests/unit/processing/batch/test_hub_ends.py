"""Batches at the hub's ends: a recreated hub, a clock that steps back, and expired events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from processing.errors import RecreatedHubError, StorageUnavailableError
from processing.event import Event
from processing.identity import Source
from processing.monitoring.clock_steps import clock_warnings
from processing.partitions.lag import PartitionLag
from processing.progress.memory import MemoryProgressStore
from processing.progress.store import Mark, Progress
from tests.support.processing.events import SOURCE, batch
from tests.support.processing.hub_rig import HubRig
from tests.support.processing.processor_rig import Rig, open_rig


class World(HubRig):
    """A hub, and any number of instances that read the hub."""

    def __init__(self) -> None:
        super().__init__(MemoryProgressStore())
        self.handled: list[tuple[int, int]] = []
        """Sequence number and enqueued time of each handled event."""

    @asynccontextmanager
    async def instance(
        self, *, answer_seconds: float = 10.0, request_seconds: float = 60.0, **settings: Any
    ) -> AsyncIterator[Rig]:
        """Open an instance that has not asked the hub yet."""
        assert isinstance(self.progress, MemoryProgressStore)

        async def handle(each: Event) -> None:
            self.handled.append((each.sequence_number, each.enqueued_ms))

        ends = self.ends(answer_seconds=answer_seconds, request_seconds=request_seconds)
        async with open_rig(handle, progress=self.progress, settings=settings, ends=ends) as rig:
            yield rig

    async def run(self, rig: Rig, events: Sequence[Event]) -> None:
        """Process a batch and write the checkpoint, as the platform does."""
        await rig.processor.process(batch(events))
        self.checkpoint(events[-1].sequence_number)

    def times(self, events: Sequence[Event]) -> list[int]:
        """Return how often each of the events was handled."""
        return [self.handled.count((each.sequence_number, each.enqueued_ms)) for each in events]


@pytest.fixture
def world() -> World:
    return World()


# A clock that steps back.


async def test_event_behind_a_step_back_of_the_clock_is_not_handled_twice(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A redelivered event that is finished stays finished, although its time is later."""
    async with world.instance() as rig:
        events = world.hub.append(10)
        world.hub.now_ms -= 5000
        events += world.hub.append(10)
        await rig.processor.process(batch(events))
        watermark = (await world.progress.load(SOURCE)).watermark
        assert watermark is not None and events[0].enqueued_ms > watermark.enqueued_ms
        caplog.set_level(logging.WARNING)
        result = await rig.processor.process(batch(events))
    assert result.skipped == 20
    assert world.times(events) == [1] * 20
    assert "the broker's clock stepped back" in caplog.text


async def test_step_back_is_known_to_an_instance_of_an_upgraded_app(world: World) -> None:
    """Progress of an older version names no hub; a hub that is older than the progress is it."""
    async with world.instance() as rig:
        events = world.hub.append(10)
        world.hub.now_ms -= 500
        events += world.hub.append(10)
        await rig.processor.process(batch(events))
    forget_creation(world)
    async with world.instance() as rig:
        await rig.processor.process(batch(events))
    assert world.times(events) == [1] * 20
    assert (await world.progress.load(SOURCE)).created_ms == world.hub.created


def forget_creation(world: World) -> None:
    """Leave the progress as an older version writes it."""
    known = world.progress._known  # type: ignore[attr-defined]
    known[SOURCE] = replace(known[SOURCE], created_ms=0)


@pytest.mark.parametrize("before", [5, 10], ids=["in a batch", "between batches"])
async def test_step_back_of_the_clock_is_reported(
    world: World, before: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The step is in the store for every instance's health, and each event is handled once."""
    caplog.set_level(logging.WARNING)
    async with world.instance() as rig:
        first = world.hub.append(10)
        await world.run(rig, first[:before])
        world.hub.now_ms -= 5000
        later = world.hub.append(10)
        await world.run(rig, [*first[before:], *later])
        await world.run(rig, world.hub.append(10))
    step = (await world.progress.load(SOURCE)).step
    assert step is not None
    assert (step.back_ms, step.sequence_number) == (4999, 10)
    assert caplog.text.count("stepped back") == 1
    assert len(world.handled) == 30
    (warning,) = clock_warnings("events", [PartitionLag("0", 29, 29, 0, step=step)], step.seen_ms)
    assert "the clock of events stepped back by 5.0 s in partition 0 (latest: event 10" in warning
    old = step.seen_ms + 25 * 3600 * 1000
    assert clock_warnings("events", [PartitionLag("0", 29, 29, 0, step=step)], old) == []


async def test_small_step_of_the_clock_is_not_reported(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A failover of the broker moves its clock by some milliseconds."""
    caplog.set_level(logging.WARNING)
    async with world.instance() as rig:
        await world.run(rig, world.hub.append(10))
        world.hub.now_ms -= 900
        await world.run(rig, world.hub.append(10))
    assert (await world.progress.load(SOURCE)).step is None
    assert caplog.text == ""


# A recreated hub.


async def test_progress_of_a_deleted_hub_is_reset_at_the_hubs_first_event(world: World) -> None:
    """The platform delivers from the first event on, so nothing is skipped."""
    async with world.instance() as rig:
        before = world.hub.append(20)
        await world.run(rig, before)
        world.hub.recreate()
        after = world.hub.append(10)
        await world.run(rig, after)
        more = world.hub.append(10)
        await world.run(rig, more)
    assert world.times([*before, *after, *more]) == [1] * 40
    progress = await world.progress.load(SOURCE)
    assert progress.created_ms == world.hub.created
    assert world.expired == []


@pytest.mark.parametrize("upgraded", [False, True], ids=["", "upgraded"])
async def test_recreated_hub_that_has_grown_past_the_checkpoint_holds(
    world: World, upgraded: bool
) -> None:
    """H31: 100 events are handled; the new hub has 120, and the platform skips 100 of them."""
    async with world.instance() as rig:
        await world.run(rig, world.hub.append(100))
    if upgraded:
        forget_creation(world)
    world.hub.recreate()
    after = world.hub.append(120)
    async with world.instance() as rig:
        for _ in range(2):
            with pytest.raises(RecreatedHubError, match="--partition 0 --to-start") as caught:
                await rig.processor.process(batch(after[100:]))
            world.seconds += 5
        assert "the events 0 to 119" in str(caught.value)
        # The operator's command: the checkpoint and the progress are those of the new hub.
        await world.progress.reset(SOURCE, world.hub.created)
        world.checkpoint(-1)
        await world.run(rig, after[:100])
        await world.run(rig, after[100:])
    assert world.times(after) == [1] * 120


async def test_recreated_hub_below_the_old_checkpoint_holds_if_events_were_skipped(
    world: World,
) -> None:
    """The checkpoint may be lower than the watermark; the skipped events are named, not lost."""
    async with world.instance() as rig:
        await world.run(rig, world.hub.append(100))
        world.hub.recreate()
        after = world.hub.append(70)
        with pytest.raises(RecreatedHubError):
            await rig.processor.process(batch(after[50:]))
    assert world.times(after) == [0] * 70


async def test_recreation_is_noticed_while_batches_flow(world: World) -> None:
    """The new hub grows past the checkpoint at once, and every batch looks like the next one."""
    async with world.instance() as rig:
        await world.run(rig, world.hub.append(50))
        world.hub.recreate()
        world.hub.append(50)
        await world.run(rig, world.hub.append(10))  # not noticed yet
        world.seconds += 16
        await world.run(rig, world.hub.append(10))  # asks in the background
        with pytest.raises(RecreatedHubError):
            for _ in range(5):
                await world.run(rig, world.hub.append(10))


async def test_recreation_is_noticed_at_the_first_batch_after_a_short_pause(world: World) -> None:
    """The new hub delivers exactly from the next number on; nothing is handled ahead of time."""
    async with world.instance() as rig:
        await world.run(rig, world.hub.append(50))
        world.hub.recreate()
        world.hub.now_ms += 4000
        world.seconds += 6
        after = world.hub.append(60)
        with pytest.raises(RecreatedHubError):
            await rig.processor.process(batch(after[50:]))
    assert world.times(after) == [0] * 60


async def test_two_partitions_wait_for_the_same_answer_after_a_pause(world: World) -> None:
    """The second batch comes while the hub is still asked because of the first one."""
    ends, other = world.ends(), Source(SOURCE.identity, "1")
    before = world.hub.append(50)
    for source in (SOURCE, other):
        await ends.settle(source, await world.progress.load(source), before)
    progress = replace(
        await world.progress.load(SOURCE), watermark=Mark(49, before[-1].enqueued_ms)
    )
    world.hub.recreate()
    world.hub.now_ms += 4000
    world.seconds += 6
    after = world.hub.append(60)[50:]
    world.hub.answering.clear()
    asking = asyncio.create_task(ends.settle(SOURCE, progress, after))
    asked = world.hub.asked["created"]
    while world.hub.asked["created"] == asked:
        await asyncio.sleep(0)
    assert not ends.accepts(other, progress, after)
    world.hub.answering.set()
    with pytest.raises(RecreatedHubError):
        await asking


async def test_batches_after_short_pauses_share_an_answer_of_the_hub(world: World) -> None:
    async with world.instance() as rig:
        await world.run(rig, world.hub.append(50))
        asked = world.hub.asked["created"]
        for _ in range(10):
            world.hub.now_ms += 6000
            world.seconds += 1
            await world.run(rig, world.hub.append(1))
        assert world.hub.asked["created"] - asked == 1
        world.hub.now_ms += 4000
        world.seconds += 4
        await world.run(rig, world.hub.append(1))
        assert world.hub.asked["created"] - asked == 1, "the pause is shorter"


async def test_recreation_during_a_pause_is_noticed_at_the_first_batch(world: World) -> None:
    """A batch after a pause waits for a new answer of the hub."""
    async with world.instance() as rig:
        await world.run(rig, world.hub.append(50))
        world.hub.recreate()
        world.hub.append(50)
        world.seconds += 31
        with pytest.raises(RecreatedHubError):
            await world.run(rig, world.hub.append(10))
    assert len(world.handled) == 50


async def test_batch_of_the_deleted_hub_is_handled_to_its_end(world: World) -> None:
    """The platform repeats a batch from its memory, also after the hub was recreated."""
    async with world.instance() as rig:
        await world.run(rig, world.hub.append(50))
        last = world.hub.append(10)
        world.hub.recreate()
    async with world.instance() as rig:
        await rig.processor.process(batch(last))
        after = world.hub.append(10)
        await world.run(rig, after)
    assert world.times([*last, *after]) == [1] * 20


async def test_lost_progress_and_a_recreated_hub_hold(world: World) -> None:
    """An emptied Redis knows no hub; the checkpoint is older than the hub."""
    async with world.instance() as rig:
        await world.run(rig, world.hub.append(100))
    world.progress.clear()  # type: ignore[attr-defined]
    world.hub.recreate()
    world.hub.now_ms += 2000
    after = world.hub.append(120)
    async with world.instance() as rig:
        with pytest.raises(RecreatedHubError):
            await rig.processor.process(batch(after[100:]))


async def test_recreated_hub_is_stalled_by_name(world: World) -> None:
    """The reason and the command are those of C11."""
    async with world.instance() as rig:
        await world.run(rig, world.hub.append(100))
        world.hub.recreate()
        after = world.hub.append(120)
        world.seconds += 60
        with pytest.raises(RecreatedHubError):
            await rig.processor.process(batch(after[100:]))
        rig.processor.parts.watch.stall_seconds = 0
        (state,) = rig.processor.parts.watch.states()
    assert state.why is not None
    assert state.why.value == "recreated"
    assert state.sequence_number == 100


# Expired events.


async def test_gap_is_recorded_once_over_instances_and_redeliveries(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Events 2 to 51 expired while the app was stopped."""
    caplog.set_level(logging.ERROR)
    events = world.hub.append(60)
    async with world.instance() as rig:
        await world.run(rig, events[:2])
    world.hub.first = 52
    async with world.instance() as one, world.instance() as other:
        for rig in (one, other, one):
            await rig.processor.process(batch(events[52:56]))
            rewind_to(world, events[1])
        await world.run(one, events[52:])
    assert world.expired == [(SOURCE, 50)]
    (gap,) = await world.gaps.gaps(SOURCE)
    assert (gap.first, gap.last, gap.events) == (2, 51, 50)
    assert caplog.text.count("50 events between 2 and 51 expired") == 1


def rewind_to(world: World, event: Event) -> None:
    """Set the watermark back, as a crash before the commit would have left it."""
    known = world.progress._known  # type: ignore[attr-defined]
    mark = replace(known[SOURCE].watermark, sequence_number=event.sequence_number)
    known[SOURCE] = replace(known[SOURCE], watermark=mark)


async def test_handled_events_in_a_gap_do_not_count(world: World) -> None:
    """Other lanes had finished three of the expired events before the app stopped."""
    events = world.hub.append(60)
    async with world.instance() as rig:
        await world.run(rig, events[:2])
        await rig.progress.commit(
            SOURCE, 2**60, None, [mark_of(events[each]) for each in (5, 6, 51, 52)]
        )
    world.hub.first = 52
    async with world.instance() as rig:
        await rig.processor.process(batch(events[52:]))
    assert world.expired == [(SOURCE, 47)]


def mark_of(event: Event) -> Mark:
    return Mark(event.sequence_number, event.enqueued_ms)


async def test_compacted_hub_reports_no_gap(world: World) -> None:
    """Numbers are missing inside the hub; the hub is asked at one gap, not at each."""
    events = world.hub.append(300)
    async with world.instance() as rig:
        await world.run(rig, events[:10])
        for start in range(20, 300, 20):
            await world.run(rig, events[start : start + 10])
    assert world.expired == []
    assert await world.gaps.gaps(SOURCE) == []
    assert world.hub.asked["range"] == 1


async def test_partly_compacted_range_counts_only_what_lies_before_the_hub(world: World) -> None:
    """Event 30 is the first retained event, and the events 30 to 51 were compacted."""
    events = world.hub.append(60)
    async with world.instance() as rig:
        await world.run(rig, events[:2])
        world.hub.first = 30
        await world.run(rig, events[52:])
    assert world.expired == [(SOURCE, 28)]


async def test_lost_progress_is_compared_with_the_checkpoint(world: World) -> None:
    """Redis was emptied; the checkpoint says what was handled."""
    events = world.hub.append(60)
    async with world.instance() as rig:
        await world.run(rig, events[:10])
        world.progress.clear()  # type: ignore[attr-defined]
        world.hub.first = 40
        await world.run(rig, events[40:])
    assert world.expired == [(SOURCE, 30)]


async def test_emptied_redis_without_a_gap_reports_nothing(world: World) -> None:
    """The platform continues at its checkpoint."""
    events = world.hub.append(60)
    async with world.instance() as rig:
        await world.run(rig, events[:10])
        world.progress.clear()  # type: ignore[attr-defined]
        await world.run(rig, events[10:])
    assert world.expired == []
    assert world.times(events) == [1] * 60


async def test_checkpoint_of_a_deleted_hub_hides_no_gap(world: World) -> None:
    """The old checkpoint is beyond the new hub's events until the first batch has ended."""
    async with world.instance() as rig:
        await world.run(rig, world.hub.append(100))
        world.hub.recreate()
        world.hub.now_ms += 2000
        after = world.hub.append(60)
        await rig.processor.process(batch(after[:2]))
        world.hub.first = 52
        await rig.processor.process(batch(after[52:]))
    assert world.expired == [(SOURCE, 50)]


async def test_new_app_has_nothing_to_compare(world: World) -> None:
    """The first batch of an app may begin anywhere."""
    events = world.hub.append(60)
    world.hub.first = 40
    async with world.instance() as rig:
        await world.run(rig, events[40:])
    assert world.expired == []


# The hub's answers.


async def test_healthy_batches_do_not_ask_the_hub(world: World) -> None:
    """The first batch of an instance asks for the hub's time of creation, once."""
    async with world.instance() as rig:
        for _ in range(20):
            await world.run(rig, world.hub.append(5))
    assert world.hub.asked["created"] == 1
    assert world.hub.asked["range"] == 0
    async with world.instance() as rig:
        for _ in range(20):
            await world.run(rig, world.hub.append(5))
            world.seconds += 1
    assert world.hub.asked["created"] <= 4
    assert world.hub.asked["range"] == 0


async def test_hub_that_does_not_answer_holds_the_first_batch(world: World) -> None:
    """Nobody knows whether the progress counts, so no event is skipped or handled."""
    world.hub.away = True
    events = world.hub.append(5)
    async with world.instance(hold_seconds=1e-9) as rig:
        with pytest.raises(StorageUnavailableError, match="event hub: away"):
            await rig.processor.process(batch(events))
        assert world.handled == []
        world.hub.away = False
        await world.run(rig, events)
    assert world.times(events) == [1] * 5


async def test_slow_answer_holds_the_batch_for_a_bounded_time(world: World) -> None:
    """The next attempt waits for the same request."""
    world.hub.answering.clear()
    events = world.hub.append(5)
    async with world.instance(answer_seconds=1e-3, hold_seconds=1e-9) as rig:
        for _ in range(2):
            with pytest.raises(StorageUnavailableError, match=r"no answer within 0\.001 s"):
                await rig.processor.process(batch(events))
        assert world.hub.asked["created"] == 1
        world.hub.answering.set()
        await world.run(rig, events)
    assert world.times(events) == [1] * 5


async def test_request_that_hangs_is_replaced(world: World) -> None:
    """The hub lost the first request; the next request is answered."""
    world.hub.answering.clear()
    events = world.hub.append(5)
    async with world.instance(request_seconds=1e-3, hold_seconds=1e-9) as rig:
        with pytest.raises(StorageUnavailableError, match=r"no answer within 0\.001 s"):
            await rig.processor.process(batch(events))
        world.hub.answer_new_requests()
        async with asyncio.timeout(5):
            await world.run(rig, events)
    assert world.times(events) == [1] * 5


async def test_request_that_hangs_delays_one_healthy_batch_only(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Later batches do not wait for the same request, because the hub's creation is known."""
    caplog.set_level(logging.DEBUG, "processing.batch.hub_ends")
    async with world.instance(answer_seconds=1e-3) as rig:
        await world.run(rig, world.hub.append(5))
        world.hub.answering.clear()
        for _ in range(5):
            world.seconds += 40
            await world.run(rig, world.hub.append(5))
        assert caplog.text.count("no answer within 0.001 s") == 1
        assert world.hub.asked["created"] == 2
        world.hub.answering.set()
        await world.run(rig, world.hub.append(5))
        world.hub.recreate()
        world.hub.append(35)
        world.seconds += 40
        with pytest.raises(RecreatedHubError):
            await world.run(rig, world.hub.append(5))
    assert len(world.handled) == 35


async def test_batch_after_a_pause_waits_for_a_short_time(world: World) -> None:
    """A hub that does not answer delays the batch only briefly, because its creation is known."""
    ends = world.ends(answer_seconds=60, pause_answer_seconds=1e-3)
    before = world.hub.append(5)
    await ends.settle(SOURCE, await world.progress.load(SOURCE), before)
    progress = replace(await world.progress.load(SOURCE), watermark=mark_of(before[-1]))
    world.hub.now_ms += 6000
    world.seconds += 6
    after = world.hub.append(5)
    world.hub.answering.clear()
    assert not ends.accepts(SOURCE, progress, after)
    async with asyncio.timeout(5):
        assert not await ends.settle(SOURCE, progress, after)
    assert world.hub.asked["created"] == 2
    world.hub.answering.set()


@pytest.mark.parametrize("refresh", ["hangs", "has failed"])
async def test_new_partition_stores_the_creation_of_the_present_hub(
    world: World, refresh: str
) -> None:
    """The known time of creation is the deleted hub's, which was asked a moment ago."""
    ends, other = world.ends(), Source(SOURCE.identity, "1")
    before = world.hub.append(5)
    await ends.settle(SOURCE, await world.progress.load(SOURCE), before)
    progress = replace(await world.progress.load(SOURCE), watermark=mark_of(before[-1]))
    world.seconds += 16
    if refresh == "hangs":
        world.hub.answering.clear()
    world.hub.away = refresh == "has failed"
    asked = world.hub.asked["created"]
    assert ends.accepts(SOURCE, progress, world.hub.append(5))
    for _ in range(5):
        await asyncio.sleep(0)
    assert world.hub.asked["created"] == asked + 1
    world.hub.away = False
    world.hub.recreate()
    settling = asyncio.create_task(ends.settle(other, Progress(), world.hub.append(5)))
    for _ in range(5):
        await asyncio.sleep(0)
    world.hub.answering.set()
    assert not await settling
    assert (await world.progress.load(other)).created_ms == world.hub.created


async def test_hub_that_stops_answering_does_not_hold_healthy_batches(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The hub is known; only what needs an answer waits."""
    async with world.instance() as rig:
        await world.run(rig, world.hub.append(5))
        world.hub.away = True
        for _ in range(10):
            world.seconds += 40
            await world.run(rig, world.hub.append(5))
    assert len(world.handled) == 55
    assert "a store failed" not in caplog.text


async def test_odd_event_is_not_skipped_while_the_hub_does_not_answer(world: World) -> None:
    """Without an answer, a step back of the clock and a recreated hub look the same."""
    async with world.instance(hold_seconds=1e-9) as rig:
        await world.run(rig, world.hub.append(20))
        world.hub.recreate()
        after = world.hub.append(5)
        world.hub.away = True
        with pytest.raises(StorageUnavailableError):
            await rig.processor.process(batch(after))
        world.hub.away = False
        await world.run(rig, after)
    assert world.times(after) == [1] * 5


async def test_batch_that_runs_again_does_not_ask_the_hub_again(world: World) -> None:
    """The platform runs a failing batch again until it succeeds."""
    events = world.hub.append(60)
    async with world.instance() as rig:
        await world.run(rig, events[:2])
    world.hub.first = 52
    ends, progress = world.ends(), await world.progress.load(SOURCE)
    for _ in range(5):
        if not ends.accepts(SOURCE, progress, events[52:]):
            assert not await ends.settle(SOURCE, progress, events[52:])
    assert world.hub.asked["range"] == 1
    assert world.expired == [(SOURCE, 50)]
