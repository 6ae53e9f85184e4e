"""The deadline of an invocation: no attempt starts after it, and the batch runs again."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from breaker import CircuitState
from breaker.configuration.function_timeout import FunctionTimeout
from processing.batch.time_budget import TimeBudget
from processing.errors import (
    DependencyUnavailableError,
    OutOfTimeError,
    StorageUnavailableError,
)
from processing.event import Event
from processing.identity import Source
from processing.parking.store import Claim
from processing.progress.memory import MemoryProgressStore
from processing.progress.store import Mark, SentMarks
from tests.support.processing.events import batch, event
from tests.support.processing.processor_rig import Rig, keyed, open_rig, trip
from tests.support.processing.replay_rig import open_rig as open_replays
from tests.support.processing.replay_rig import simulated

TIMEOUT = 100.0
START = 80.0
"""The budget's time in which attempts start."""
SETTINGS: dict[str, Any] = {"handler_timeout_seconds": 4.0, "hold_seconds": 60.0}


def now() -> float:
    return asyncio.get_running_loop().time()


class Handler:
    """A handler with calls of a fixed duration, which notes when each call starts."""

    def __init__(self, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.seconds = seconds
        self.error = error
        self.started: list[float] = []

    async def __call__(self, _each: Event) -> None:
        self.started.append(now())
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def opened(
    handler: Callable[[Event], Awaitable[None]],
    *,
    rules: dict[str, Any] | None = None,
    progress: MemoryProgressStore | None = None,
    **settings: Any,
) -> AsyncIterator[Rig]:
    async with open_rig(
        handler,
        settings=SETTINGS | settings,
        breaker_settings={"standstill_failures": 0} | (rules or {}),
        progress=progress,
        budget=TimeBudget.of(FunctionTimeout(TIMEOUT), 4.0),
    ) as rig:
        yield rig


async def ends_in_time(rig: Rig, events: Sequence[Event]) -> BaseException | None:
    """Process a batch once, and return the error of the invocation, which ended in time."""
    began = now()
    error = None
    try:
        await rig.processor.process(batch(events))
    except Exception as raised:
        error = raised
    assert now() - began < TIMEOUT
    return error


@pytest.mark.parametrize("key", ["k", None])
@simulated
async def test_long_lane_runs_again_for_its_rest(key: str | None) -> None:
    """A batch that takes longer than functionTimeout loses, doubles and reorders nothing (H14)."""
    handler = Handler(seconds=3.0)
    async with opened(handler) as rig:
        events = [event(number, key) for number in range(60)]
        runs = 0
        while error := await ends_in_time(rig, events):
            assert isinstance(error, OutOfTimeError)
            assert "functionTimeout (not set): 100 s" in str(error)
            runs += 1
        assert rig.handled == list(range(60))
        assert runs == 2


@simulated
async def test_no_call_starts_after_the_deadline() -> None:
    """Calls in flight end; their events are finished."""
    handler = Handler(seconds=3.0)
    async with opened(handler) as rig:
        await ends_in_time(rig, keyed(*["a"] * 60, *["b"] * 60))
        assert max(handler.started) < START
        assert len(rig.handled) == len(handler.started)


@simulated
async def test_batch_that_ends_with_its_last_call_succeeds() -> None:
    """A batch is not run again if its last event finished after the deadline."""
    handler = Handler(seconds=3.0)
    async with opened(handler) as rig:
        assert await ends_in_time(rig, keyed(*["k"] * 27)) is None
        assert handler.started[-1] == 78.0


@simulated
async def test_no_retry_starts_after_the_deadline() -> None:
    """A pause ends at the deadline; the event is neither poisoned nor counted."""
    handler = Handler(error=LookupError("x"))
    pauses: dict[str, Any] = {"retry_initial_seconds": 30.0, "retry_max_seconds": 60.0}
    async with opened(handler, max_attempts=10, **pauses) as rig:
        error = await ends_in_time(rig, keyed("k"))
        assert isinstance(error, OutOfTimeError)
        assert now() == START
        assert max(handler.started) < START
        assert rig.poisoned == []


@pytest.mark.parametrize("retry_after", [3600.0, math.inf, 1.0])
@simulated
async def test_kept_event_ends_with_the_deadline(retry_after: float) -> None:
    """The hold of a kept event may begin late in the invocation (H13)."""
    down = DependencyUnavailableError("down", retry_after=retry_after)
    calls: list[float] = []

    async def handle(each: Event) -> None:
        if each.sequence_number < 20:
            await asyncio.sleep(3.0)
            return
        calls.append(now())
        raise down

    async with opened(handle, max_attempts=1, rules={"failure_threshold": 1000}) as rig:
        error = await ends_in_time(rig, keyed(*["k"] * 21))
        assert isinstance(error, OutOfTimeError)
        assert now() == START
        assert 60 <= calls[0] <= calls[-1] < START


@simulated
async def test_hold_ends_with_the_deadline() -> None:
    """The circuit opens late in the invocation, and stays open for longer than its rest."""

    async def handle(each: Event) -> None:
        await asyncio.sleep(3.0)
        if each.sequence_number == 19:
            await trip(rig.breaker)

    async with opened(handle) as rig:
        error = await ends_in_time(rig, keyed(*["k"] * 30))
        assert isinstance(error, OutOfTimeError)
        assert now() == START
        assert rig.handled == list(range(20))
        assert rig.breaker.circuit.state is CircuitState.OPEN


@simulated
async def test_turn_in_a_ramp_ends_with_the_deadline() -> None:
    """A lane that waits for its turn after the circuit's closing starts no late event."""
    handler = Handler(seconds=3.0)
    rules = {"ramp_seconds": 600, "half_open_permits": 1}
    async with opened(handler, rules=rules) as rig:
        await trip(rig.breaker)
        await rig.breaker.approve(1, "op")
        await rig.breaker.record_successes(1, await rig.breaker.try_acquire())
        error = await ends_in_time(rig, keyed(*["a"] * 60, "b", "c", "d"))
        assert isinstance(error, OutOfTimeError)
        assert max(handler.started) < START


class Away(MemoryProgressStore):
    """A store whose commits fail, or never end, after a time."""

    def __init__(self, after: float, *, hangs: bool) -> None:
        super().__init__()
        self.after = after
        self.hangs = hangs

    async def commit(
        self,
        source: Source,
        owner: int,
        watermark: Mark | None,
        finished: Sequence[Mark],
        sent: SentMarks | None = None,
    ) -> bool:
        if now() >= self.after:
            if self.hangs:
                await asyncio.Event().wait()
            raise StorageUnavailableError("away")
        return await super().commit(source, owner, watermark, finished)


@pytest.mark.parametrize("hangs", [False, True])
@simulated
async def test_write_ends_with_the_invocation(hangs: bool) -> None:
    """A store that stops answering late in the invocation must not cost the process."""
    store = Away(70.0, hangs=hangs)
    async with opened(Handler(seconds=3.0), progress=store) as rig:
        error = await ends_in_time(rig, keyed(*["k"] * 60))
        assert isinstance(error, StorageUnavailableError | OutOfTimeError)
        store.after = math.inf
        while await ends_in_time(rig, keyed(*["k"] * 60)):
            pass
        assert sorted(set(rig.handled)) == list(range(60))


@simulated
async def test_write_after_the_end_is_not_repeated() -> None:
    """A call that ignored its cancellation leaves no time for repetitions."""
    async with opened(Handler(seconds=99.0), progress=Away(0.0, hangs=False)) as rig:
        assert isinstance(await ends_in_time(rig, keyed("k")), StorageUnavailableError)


@simulated
async def test_cancelled_write_of_another_cause_stays_cancelled() -> None:
    """Only the end of the invocation turns a cancellation into an error of the store."""

    async def hang(*_args: object, **_options: object) -> Claim:
        await asyncio.Event().wait()
        raise AssertionError

    async with opened(Handler()) as rig:
        rig.store.claim = hang  # type: ignore[method-assign]
        running = asyncio.create_task(rig.processor.process(batch(keyed("k"))))
        await asyncio.sleep(10)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert running.cancelled()


@simulated
async def test_replay_starts_no_event_after_the_deadline() -> None:
    """A replay belongs to an invocation, which starts no event after its deadline."""
    async with open_replays() as rig:
        started: list[float] = []

        async def slow(_each: Event) -> None:
            started.append(now())
            await asyncio.sleep(30)

        rig.before = slow
        await rig.defer(1, 2, 3, 4, 5)
        began = now()
        with rig.replayer.invocation(START):
            rig.replayer.start(event(0).source, ("k",))
            await rig.replayer.wait_idle()
        assert [each - began for each in started] == [0, 30, 60]


@simulated
async def test_replay_makes_no_retry_after_the_deadline() -> None:
    """The event stays deferred; its failed attempt poisons nothing."""
    settings: dict[str, Any] = {
        "retry_initial_seconds": 50.0,
        "retry_max_seconds": 60.0,
        "max_attempts": 3,
    }
    async with open_replays(**settings) as rig:
        rig.errors[1] = LookupError("x")
        await rig.defer(1)
        with rig.replayer.invocation(20):
            rig.replayer.start(event(0).source, ("k",))
            await rig.replayer.wait_idle()
        assert rig.started == [1]
        assert rig.poisoned == []
        assert [number for _, number in await rig.waiting()] == [1]
