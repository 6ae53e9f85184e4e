"""The processor calls the watch: each reason is that of a real batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from breaker.clock import ManualClock
from processing.batch.processor import BatchProcessor
from processing.errors import (
    DependencyUnavailableError,
    FaultyHandlerError,
    ParkedEventsLostError,
    ProcessingError,
    StorageUnavailableError,
)
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.identity import Source
from processing.monitoring.partition_state import PartitionState, State
from processing.monitoring.reasons import Why
from processing.monitoring.stall import Watch
from processing.parking.batch import Parking
from processing.parking.event import ListKey
from processing.parking.memory import MemoryParkingStore
from processing.parking.store import Claim
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.progress.memory import MemoryProgressStore
from processing.progress.store import Mark, SentMarks
from processing.settings import ProcessingSettings
from tests.support.patience import HANG_SECONDS
from tests.support.processing.events import SOURCE, batch, event

SETTINGS: dict[str, Any] = {
    "retry_initial_seconds": 0.0,
    "retry_max_seconds": 0.0,
    "dependency_pause_seconds": 0.0,
    "hold_seconds": 0.0,
    "deferred_events_max": 0,
}

type Behaviour = Callable[[Event], Awaitable[None]]


class FullStore(MemoryParkingStore):
    """A store whose lists have no room."""

    def __init__(self, progress: MemoryProgressStore) -> None:
        super().__init__(progress, most_events=0)


class EmptiedStore(MemoryParkingStore):
    """A store that has lost the mark of each partition."""

    async def claim(
        self,
        source: Source,
        keys: Collection[ListKey] = (),
        *,
        generation: int = 0,
        opening: str = "",
    ) -> Claim:
        raise ParkedEventsLostError("Redis has lost the parked events of this partition")


class AwayProgress(MemoryProgressStore):
    """A store that takes no commit."""

    async def commit(
        self,
        source: Source,
        owner: int,
        watermark: Mark | None,
        finished: Sequence[Mark],
        sent: SentMarks | None = None,
    ) -> bool:
        raise StorageUnavailableError("Redis does not answer")


@asynccontextmanager
async def opened(
    behaviour: Behaviour,
    watch: Watch,
    progress: MemoryProgressStore,
    parking: MemoryParkingStore | None = None,
    **settings: Any,
) -> AsyncIterator[BatchProcessor]:
    """Open a processor whose circuit stays closed, although each attempt fails for it."""
    rules = BreakerSettings(name="c", failure_threshold=1000, standstill_failures=0)
    parking = parking or MemoryParkingStore(progress)
    async with CircuitBreaker(MemoryCircuitStore("c"), rules) as breaker:
        yield BatchProcessor(
            LoadedHandler("tests:handler", behaviour),
            breaker=breaker,
            progress=progress,
            poison=MemoryPoisonQueue(),
            parking=Parking(parking, MemoryClaimChecks()),
            settings=ProcessingSettings(**(SETTINGS | settings)),
            watch=watch,
        )


async def state_after(
    behaviour: Behaviour,
    *events: Event,
    progress: MemoryProgressStore | None = None,
    parking: Callable[[MemoryProgressStore], MemoryParkingStore] = MemoryParkingStore,
    **settings: Any,
) -> list[PartitionState]:
    """Return the states 80 s after a batch has begun, which runs again every 20 s."""
    clock = ManualClock()
    watch = Watch(clock=clock.monotonic)
    progress = progress or MemoryProgressStore()
    async with opened(behaviour, watch, progress, parking(progress), **settings) as processor:
        for _ in range(4):
            with suppress(ProcessingError):
                await processor.process(batch(events))
            clock.advance(20)
        return watch.states()


async def refuse(_: Event) -> None:
    raise DependencyUnavailableError("the bank is down")


async def forget(_: Event) -> Any:
    return ValueError("returned instead of raised")


async def accept(_: Event) -> None:
    return None


async def test_kept_event_is_a_stall() -> None:
    """The second event has finished; the first one is the reason."""

    async def refuse_first(each: Event) -> None:
        if each.sequence_number == 1:
            await refuse(each)

    (state,) = await state_after(refuse_first, event(1), event(2, "other"))
    assert (state.state, state.why, state.sequence_number) == (State.STALLED, Why.KEPT, 1)
    assert state.reason == "DependencyUnavailableError: the bank is down"


async def test_finished_event_at_the_front_of_a_batch_is_not_named() -> None:
    """An earlier owner has finished the batch's first event."""
    progress = MemoryProgressStore()
    await progress.commit(SOURCE, 0, Mark(1, event(1).enqueued_ms), [])
    (state,) = await state_after(refuse, event(1), event(2), progress=progress)
    assert (state.why, state.sequence_number) == (Why.KEPT, 2)


async def test_keyless_event_is_a_stall_that_an_operator_can_end() -> None:
    """The response names the command."""
    (state,) = await state_after(refuse, event(1, None), deferred_events_max=10_000)
    assert (state.state, state.why) == (State.STALLED, Why.KEYLESS)
    assert "parked poison-head 0" in state.todo


async def test_full_lists_are_a_stall() -> None:
    """The event cannot be deferred and keeps its place."""
    (state,) = await state_after(
        refuse, event(1), parking=FullStore, deferred_events_max=10_000, defer_after_seconds=0.0
    )
    assert (state.state, state.why) == (State.STALLED, Why.FULL)


async def test_faulty_handler_is_a_stall() -> None:
    """The handler must be corrected."""
    (state,) = await state_after(forget, event(1))
    assert (state.state, state.why) == (State.STALLED, Why.FAULTY)
    assert FaultyHandlerError.__name__ in state.reason


async def test_store_that_is_away_is_a_stall() -> None:
    """Each event is handled, and no completion can be written."""
    (state,) = await state_after(accept, event(1), progress=AwayProgress())
    assert (state.state, state.why) == (State.STALLED, Why.STORAGE)
    assert "Redis does not answer" in state.reason


async def test_store_is_the_reason_while_its_call_is_retried() -> None:
    """The invocation has not ended yet; `hold_seconds` may be an hour."""
    watch, progress = Watch(), AwayProgress()
    async with opened(accept, watch, progress, hold_seconds=3600.0) as processor:
        running = asyncio.create_task(processor.process(batch([event(1)])))
        async with asyncio.timeout(HANG_SECONDS):
            while [each.why for each in watch.states()] != [Why.STORAGE]:
                await asyncio.sleep(0)
        processor.stop()
        await asyncio.gather(running, return_exceptions=True)


async def test_lost_parked_events_are_a_stall() -> None:
    """The claim fails, so no event starts."""
    (state,) = await state_after(accept, event(1), parking=EmptiedStore)
    assert (state.state, state.why) == (State.STALLED, Why.LOST)
    assert "--to-mark" in state.todo


@pytest.mark.parametrize("limit", [0, 10_000])
async def test_finished_batch_is_no_stall(limit: int) -> None:
    """An event that failed once and succeeded leaves nothing, nor does a deferred event."""
    failed: set[int] = set()

    async def refuse_once(each: Event) -> None:
        if each.sequence_number not in failed:
            failed.add(each.sequence_number)
            raise RuntimeError("once")

    assert await state_after(refuse_once, event(1), event(2), deferred_events_max=limit) == []
    settings: dict[str, Any] = {"deferred_events_max": 10_000, "defer_after_seconds": 0.0}
    assert await state_after(refuse, event(1), event(2), **settings) == []


async def test_running_call_is_no_stall() -> None:
    """One call that runs for a minute is slow, within its time limit."""
    clock, entered, leave = ManualClock(), asyncio.Event(), asyncio.Event()
    watch = Watch(clock=clock.monotonic)

    async def wait(_: Event) -> None:
        entered.set()
        await leave.wait()

    async with opened(wait, watch, MemoryProgressStore()) as processor:
        running = asyncio.create_task(processor.process(batch([event(1), event(2)])))
        await entered.wait()
        clock.advance(60)
        assert [each.state for each in watch.states()] == [State.SLOW]
        leave.set()
        await running
    assert watch.states() == []
