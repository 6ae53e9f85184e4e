"""BatchProcessor: every event to its end, in order per key, and the circuit in charge."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitOpenError,
    CircuitState,
    MemoryCircuitStore,
    Permit,
)
from processing.adapters.memory import MemoryPoisonQueue, MemoryProgressStore
from processing.errors import (
    DependencyUnavailableError,
    OwnershipLostError,
    PoisonEventError,
    ShutdownError,
    StorageUnavailableError,
)
from processing.event import Event
from processing.handler import LoadedHandler
from processing.poison import PoisonMessage
from processing.processor import BatchProcessor
from processing.progress import Mark
from processing.settings import ProcessingSettings
from tests.unit.events import SOURCE, batch, event

FAST = {"retry_initial_seconds": 0.0, "retry_max_seconds": 0.0, "dependency_pause_seconds": 0.0}


class Parts:
    """A processor on in-memory parts, and what came of it."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        self.poison = MemoryPoisonQueue()
        self.progress = MemoryProgressStore()
        self.handled: list[int] = []
        self.processor: BatchProcessor

    @property
    def poisoned(self) -> list[int]:
        return [message.sequence_number for message in self.poison.messages]


type Behaviour = Callable[[Event], Awaitable[None]]


@asynccontextmanager
async def parts(
    behaviour: Behaviour | None = None,
    *,
    settings: dict[str, Any] | None = None,
    breaker_settings: dict[str, Any] | None = None,
) -> AsyncIterator[Parts]:
    rules = BreakerSettings(**({"half_open_permits": 2} | (breaker_settings or {})))
    async with CircuitBreaker(MemoryCircuitStore(rules.name), rules) as breaker:
        made = Parts(breaker)

        async def handler(each: Event) -> None:
            if behaviour is not None:
                await behaviour(each)
            made.handled.append(each.sequence_number)

        made.processor = BatchProcessor(
            LoadedHandler("tests:handler", handler),
            breaker=breaker,
            progress=made.progress,
            poison=made.poison,
            settings=ProcessingSettings(**(FAST | (settings or {}))),
            count_poison=rules.count_poison,
            instance="test:1",
        )
        yield made


def keyed(*keys: str | None) -> Sequence[Event]:
    return [event(index, key) for index, key in enumerate(keys)]


async def test_healthy_batch() -> None:
    """All events are handled once, and progress says so."""
    async with parts() as made:
        result = await made.processor.process(batch(keyed("a", "b", "a", None)))
        assert sorted(made.handled) == [0, 1, 2, 3]
        assert (result.handled, result.poisoned, result.skipped) == (4, 0, 0)
        assert (await made.progress.load(SOURCE)).watermark == Mark(3, event(3).enqueued_ms)


async def test_redelivered_events_are_skipped() -> None:
    """An event that finished is not handled again, and the others are."""
    async with parts() as made:
        events = keyed("a", "b", "a", "b")
        await made.progress.commit(SOURCE, 0, None, [Mark(2, events[2].enqueued_ms)])
        result = await made.processor.process(batch(events))
        assert sorted(made.handled) == [0, 1, 3]
        assert result.skipped == 1
        again = await made.processor.process(batch(events))
        assert (again.handled, again.skipped) == (0, 4)


async def test_an_event_twice_in_one_batch() -> None:
    """A client that lost its link may repeat events; each is handled once, in its order."""
    async with parts() as made:
        events = [*keyed("a", "b", "a"), *keyed("a", "b", "a", "a")]
        result = await made.processor.process(batch(events))
        assert (result.handled, result.skipped) == (4, 3)
        assert sorted(made.handled) == [0, 1, 2, 3]
        assert in_order(events, made.handled)
        assert (await made.progress.load(SOURCE)).watermark == Mark(3, event(3).enqueued_ms)


async def test_a_batch_out_of_order() -> None:
    """Whatever a client did when it lost its link, a key's earlier event comes first, and the
    watermark passes nothing that is not finished.
    """

    async def down(each: Event) -> None:
        if each.sequence_number == 6:
            raise DependencyUnavailableError("down")

    async with parts(down, settings={"hold_seconds": 0.0}) as made:
        events = [event(number, "a") for number in (8, 9, 5, 6, 7)]
        with pytest.raises(DependencyUnavailableError):
            await made.processor.process(batch(events))
        assert made.handled == [5]
        known = await made.progress.load(SOURCE)
        assert known.finished_among(events) == [event(5, "a")]


async def test_a_key_waits_for_its_own_events_only() -> None:
    """One slow event delays its key and no other."""
    release = asyncio.Event()

    async def slow(each: Event) -> None:
        if each.sequence_number == 0:
            await release.wait()

    async with parts(slow) as made:
        running = asyncio.create_task(made.processor.process(batch(keyed("a", "a", "b", "b"))))
        while len(made.handled) < 2:
            await asyncio.sleep(0)
        assert made.handled == [2, 3]
        release.set()
        await running
        assert made.handled == [2, 3, 0, 1]


async def test_lanes_are_bounded() -> None:
    """No more than max_lanes events of a batch are in flight."""
    running = most = 0

    async def count(_each: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    async with parts(count, settings={"max_lanes": 3}) as made:
        await made.processor.process(batch(keyed(*"abcdefghij")))
        assert most == 3


async def test_poison_event() -> None:
    """Poison goes to the queue at once, with everything known of it; its key goes on."""

    async def poison(each: Event) -> None:
        if each.sequence_number == 1:
            raise PoisonEventError("no such order")

    async with parts(poison) as made:
        result = await made.processor.process(batch(keyed("a", "a", "a")))
        assert (made.handled, made.poisoned) == ([0, 2], [1])
        assert (result.handled, result.poisoned) == (2, 1)
        (message,) = made.poison.messages
        assert (message.attempts, message.error.message) == (1, "no such order")
        assert (message.handler, message.instance) == ("tests:handler", "test:1")
        assert (await made.breaker.refresh()).failures == 1
        assert (await made.progress.load(SOURCE)).watermark == Mark(2, event(2).enqueued_ms)


async def test_poison_may_count_for_nothing() -> None:
    """With count_poison off a poison event says nothing to the circuit."""

    async def poison(_each: Event) -> None:
        raise PoisonEventError("bad")

    async with parts(poison, breaker_settings={"count_poison": False}) as made:
        await made.processor.process(batch(keyed("a")))
        assert (await made.breaker.refresh()).failures == 0


async def test_exhausted_event() -> None:
    """An event that fails max_attempts times counts as one failure and goes to the queue."""

    async def fail(each: Event) -> None:
        if each.key == "a":
            raise LookupError("x")

    async with parts(fail, settings={"max_attempts": 3}) as made:
        await made.processor.process(batch(keyed("a", "b")))
        assert (made.handled, made.poisoned) == ([1], [0])
        assert made.poison.messages[0].attempts == 3
        assert (await made.breaker.refresh()).failures == 1


async def test_dependency_failure_keeps_the_event() -> None:
    """An outage fills no poison queue and breaks no order: the same event again, until it works."""
    calls: dict[int, int] = defaultdict(int)

    async def outage(each: Event) -> None:
        calls[each.sequence_number] += 1
        if each.sequence_number == 0 and calls[0] <= 5:
            raise DependencyUnavailableError("down")

    async with parts(outage, settings={"max_attempts": 2}) as made:
        await made.processor.process(batch(keyed("a", "a")))
        assert made.handled == [0, 1]
        assert made.poisoned == []
        assert calls == {0: 6, 1: 1}
        # 6 calls are 3 rounds of 2 attempts, of which the last succeeded at once: 2 exhaustions
        # and a half; each full exhaustion is one failure.
        assert (await made.breaker.refresh()).failures == 2


async def test_an_event_that_is_kept_for_too_long_ends_the_invocation() -> None:
    """The batch fails, to be run again, before the host's function timeout ends the instance."""
    calls = 0

    async def outage(_each: Event) -> None:
        nonlocal calls
        calls += 1
        raise DependencyUnavailableError("down")

    async with parts(outage, settings={"max_attempts": 1, "hold_seconds": 0.0}) as made:
        with pytest.raises(DependencyUnavailableError, match="runs again with its batch"):
            await made.processor.process(batch(keyed("a", "a")))
        assert (calls, made.handled, made.poisoned) == (1, [], [])
        assert (await made.breaker.refresh()).failures == 1


class OddError(BaseException):
    """As some libraries have them, so that `except Exception` lets them through."""


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(3), OddError("odd")])
async def test_what_is_no_exception_is_a_failure_all_the_same(error: BaseException) -> None:
    """A handler that awaits something cancelled, or calls sys.exit, loses neither its event nor
    those behind it.
    """

    async def fail(each: Event) -> None:
        if each.sequence_number == 0:
            raise error

    async with parts(fail, settings={"max_attempts": 2}) as made:
        result = await made.processor.process(batch(keyed("a", "a")))
        assert (made.handled, made.poisoned, result.handled) == ([1], [0], 1)
        assert type(error).__name__ in made.poison.messages[0].error.message
        assert made.poison.messages[0].attempts == 2


async def test_cancelling_the_invocation_is_no_failure() -> None:
    """When the host cancels the invocation itself, its events have not failed."""
    started = asyncio.Event()

    async def hang(_each: Event) -> None:
        started.set()
        await asyncio.Event().wait()

    async with parts(hang) as made:
        running = asyncio.create_task(made.processor.process(batch(keyed("a"))))
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (made.handled, made.poisoned) == ([], [])


async def test_an_error_without_a_text() -> None:
    """An exception whose own text fails blocks nothing."""

    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    async def fail(_each: Event) -> None:
        raise SilentError

    async with parts(fail, settings={"max_attempts": 1}) as made:
        await made.processor.process(batch(keyed("a")))
        assert made.poisoned == [0]
        assert "can't be had" in made.poison.messages[0].error.message


async def test_open_circuit_holds_and_then_fails_the_batch() -> None:
    """No event starts while the circuit is open; after hold_seconds the batch fails."""
    async with parts(settings={"hold_seconds": 0.0}) as made:
        await trip(made.breaker)
        with pytest.raises(CircuitOpenError):
            await made.processor.process(batch(keyed("a", "b")))
        assert made.handled == []
        assert (await made.progress.load(SOURCE)).watermark is None


async def test_held_batch_goes_on_when_the_circuit_closes() -> None:
    """A batch that is held resumes with its first unfinished event."""

    async def trip_at_1(each: Event) -> None:
        if each.sequence_number == 1:
            await trip(made.breaker)

    async with parts(trip_at_1, settings={"hold_seconds": 30.0}) as made:
        running = asyncio.create_task(made.processor.process(batch(keyed(*"aaaaaa"))))
        while made.breaker.circuit.admits:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert made.handled == [0, 1]  # in flight ones finish, no other starts
        await made.breaker.approve(1, "op")
        result = await running
        assert made.handled == [0, 1, 2, 3, 4, 5]
        assert result.handled == 6
        assert made.breaker.circuit.admits


async def test_kept_event_waits_for_the_open_circuit() -> None:
    """A failing dependency opens the circuit; its events are neither lost nor poisoned."""
    down = True

    async def outage(_each: Event) -> None:
        if down:
            raise DependencyUnavailableError("down")

    async with parts(
        outage,
        settings={"max_attempts": 1, "hold_seconds": 0.05},
        breaker_settings={"failure_threshold": 3},
    ) as made:
        events = keyed(*"abcdeabcde")
        with pytest.raises(CircuitOpenError):
            await made.processor.process(batch(events))
        assert made.breaker.circuit.generation == 1
        assert (made.handled, made.poisoned) == ([], [])
        down = False
        await made.breaker.approve(1, "op")
        await made.processor.process(batch(events))
        assert in_order(events, made.handled)
        assert made.breaker.circuit.state is CircuitState.CLOSED


async def test_failed_probe_opens_again() -> None:
    """In HALF_OPEN the first failure opens the next generation; poison counts neither way."""

    async def behave(each: Event) -> None:
        if each.key == "poison":
            raise PoisonEventError("bad")
        if each.key == "fail":
            raise LookupError("x")

    async with parts(
        behave,
        settings={"max_attempts": 1, "hold_seconds": 0.0, "max_lanes": 1},
        breaker_settings={"half_open_permits": 2},
    ) as made:
        await trip(made.breaker)
        await made.breaker.approve(1, "op")
        with pytest.raises(CircuitOpenError):
            await made.processor.process(
                batch(keyed("poison", "poison", "poison", "ok", "fail", "later"))
            )
        assert made.breaker.circuit.state is CircuitState.OPEN
        assert made.breaker.circuit.generation == 2
        assert made.poisoned == [0, 1, 2, 4]
        assert made.handled == [3]


async def test_a_rebalance_in_mid_batch() -> None:
    """The earlier owner finishes what it has in flight and starts no other event; the new owner
    goes on behind it, so a key never goes back.
    """
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(each: Event) -> None:
        if each.sequence_number == 1 and not started.is_set():
            started.set()
            await release.wait()

    async with parts(slow) as made:
        events = keyed(*"aaaa")
        earlier = asyncio.create_task(made.processor.process(batch(events)))
        await started.wait()
        later = await made.progress.open(SOURCE)  # as the new owner's batch does
        assert later.watermark == Mark(0, event(0).enqueued_ms)
        release.set()
        with pytest.raises(OwnershipLostError):
            await earlier
        assert made.handled == [0, 1]
        await made.processor.process(batch(events))
        assert made.handled == [0, 1, 2, 3]


async def test_shutdown_stops_before_the_next_event() -> None:
    """After stop() what is in flight finishes, nothing starts, and the batch is not done."""
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(_each: Event) -> None:
        started.set()
        await release.wait()

    async with parts(slow) as made:
        running = asyncio.create_task(made.processor.process(batch(keyed("a", "a"))))
        await started.wait()
        made.processor.stop()
        release.set()
        with pytest.raises(ShutdownError):
            await running
        assert made.handled == [0]
        assert (await made.progress.load(SOURCE)).watermark == Mark(0, event(0).enqueued_ms)
        await made.processor.wait_idle()


async def test_shutdown_hurries_no_event_into_the_poison_queue() -> None:
    """An event that waits for its next attempt when the instance stops is left unfinished."""
    failed = asyncio.Event()

    async def fail(_each: Event) -> None:
        failed.set()
        raise LookupError("x")

    async with parts(
        fail, settings={"retry_initial_seconds": 3600, "retry_max_seconds": 3600}
    ) as m:
        running = asyncio.create_task(m.processor.process(batch(keyed("a", "a"))))
        await failed.wait()
        await asyncio.sleep(0)
        m.processor.stop()
        with pytest.raises(ShutdownError):
            await running
        assert (m.handled, m.poisoned) == ([], [])
        assert (await m.breaker.refresh()).failures == 0


async def test_shutdown_gives_a_probe_back() -> None:
    """Recovery does not wait until the lease of an instance that was stopped runs out."""
    failed = asyncio.Event()

    async def fail(_each: Event) -> None:
        failed.set()
        raise LookupError("x")

    async with parts(
        fail,
        settings={"retry_initial_seconds": 3600, "retry_max_seconds": 3600},
        breaker_settings={"half_open_permits": 1},
    ) as made:
        await trip(made.breaker)
        await made.breaker.approve(1, "op")
        running = asyncio.create_task(made.processor.process(batch(keyed("a"))))
        await failed.wait()
        await asyncio.sleep(0)
        made.processor.stop()
        with pytest.raises(ShutdownError):
            await running
        assert (await made.breaker.try_acquire()).probe_id


async def test_shutdown_while_a_permit_is_asked_for() -> None:
    """The permit that comes too late starts no event, and is given back."""
    async with parts(breaker_settings={"half_open_permits": 1}) as made:
        await trip(made.breaker)
        await made.breaker.approve(1, "op")
        try_acquire = made.breaker.try_acquire

        async def late() -> Permit:
            permit = await try_acquire()
            made.processor.stop()
            return permit

        made.breaker.try_acquire = late  # type: ignore[method-assign]
        with pytest.raises(ShutdownError):
            await made.processor.process(batch(keyed("a")))
        assert made.handled == []
        assert (await try_acquire()).probe_id


async def test_shutdown_ends_a_hold() -> None:
    """A held batch does not keep an instance from stopping."""
    async with parts(settings={"hold_seconds": 3600.0}) as made:
        await trip(made.breaker)
        running = asyncio.create_task(made.processor.process(batch(keyed("a"))))
        for _ in range(10):
            await asyncio.sleep(0)
        made.processor.stop()
        with pytest.raises(ShutdownError):
            await running


async def test_poison_queue_down_holds_the_batch() -> None:
    """If nothing takes the poison message the event is not finished, and the batch fails."""

    class Down:
        async def put(self, message: PoisonMessage) -> None:
            raise StorageUnavailableError("queue is down")

    async def poison(each: Event) -> None:
        if each.key == "bad":
            raise PoisonEventError("bad")

    async with parts(poison, settings={"hold_seconds": 0.0}) as made:
        made.processor.poison = Down()
        with pytest.raises(StorageUnavailableError, match="queue is down"):
            await made.processor.process(batch(keyed("ok", "bad", "bad")))
        progress = await made.progress.load(SOURCE)
        assert progress.watermark == Mark(0, event(0).enqueued_ms)


async def test_a_failed_lane_halts_the_others() -> None:
    """When one lane can't go on, the others finish what is in flight and start no more."""
    failed = asyncio.Event()

    class Down:
        async def put(self, message: PoisonMessage) -> None:
            await asyncio.sleep(0)  # the other lane starts its first event
            failed.set()
            raise StorageUnavailableError("queue is down")

    async def behave(each: Event) -> None:
        if each.key == "bad":
            raise PoisonEventError("bad")
        await failed.wait()
        for _ in range(50):  # long enough for the failed lane to end
            await asyncio.sleep(0)

    async with parts(behave, settings={"hold_seconds": 0.0}) as made:
        made.processor.poison = Down()
        with pytest.raises(StorageUnavailableError):
            await made.processor.process(batch(keyed("bad", "ok", "ok", "ok")))
        assert made.handled == [1]


async def test_a_short_outage_of_storage_is_waited_out() -> None:
    """A write that must not be lost is made again until it succeeds; the batch needs no rerun."""
    failures = 2

    class Flaky(MemoryPoisonQueue):
        async def put(self, message: PoisonMessage) -> None:
            nonlocal failures
            if failures:
                failures -= 1
                raise StorageUnavailableError("queue is down")
            await super().put(message)

    async def poison(_each: Event) -> None:
        raise PoisonEventError("bad")

    async with parts(poison) as made:
        made.processor.poison = queue = Flaky()
        result = await made.processor.process(batch(keyed("a")))
        assert result.poisoned == 1
        assert len(queue.messages) == 1


def in_order(events: Sequence[Event], handled: Sequence[int]) -> bool:
    """Whether each key's events were handled in their order."""
    keys = {each.sequence_number: each.key for each in events}
    lanes: dict[str | None, list[int]] = defaultdict(list)
    for number in handled:
        lanes[keys[number]].append(number)
    return all(lane == sorted(lane) for lane in lanes.values())


async def trip(breaker: CircuitBreaker) -> None:
    """Open the circuit."""
    for number in range(breaker.settings.failure_threshold):
        permit = await breaker.try_acquire()
        await breaker.record_failure(f"trip-{number}", "test", permit)
        if breaker.circuit.state is not CircuitState.CLOSED:
            return
