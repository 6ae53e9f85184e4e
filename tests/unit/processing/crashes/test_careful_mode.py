"""A process whose predecessors have died at one event handles one event at a time."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from breaker import CircuitState
from breaker.configuration.function_timeout import FunctionTimeout
from processing.batch.time_budget import TimeBudget
from processing.crashes.careful import create_careful_gauge
from processing.crashes.memory import MemoryCrashStore
from processing.crashes.process import ProcessName
from processing.crashes.records import Opening, opening_text, parsed
from processing.errors import OutOfTimeError, OwnershipLostError, ShutdownError
from processing.event import Event
from processing.identity import Source
from processing.parking.event import Position, position_of
from tests.support.processing.events import IDENTITY, SOURCE, batch, event
from tests.support.processing.processor_rig import Rig, keyed, open_rig, trip
from tests.support.processing.replay_rig import simulated

OTHER = Source(IDENTITY, "1")
THIS = ProcessName.current()


def dead(number: int) -> ProcessName:
    """Return the name of a process of this machine that has died."""
    return replace(THIS, started=f"{number}")


def parent() -> ProcessName:
    """Return the name of another process of this machine, which lives."""
    stat = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
    return replace(THIS, pid=os.getppid(), started=stat[19])


@dataclass
class Busy:
    """A handler that notes which events run at the same time, and waits for a release."""

    release: asyncio.Event = field(default_factory=asyncio.Event)
    running: list[int] = field(default_factory=list)
    started: list[tuple[str, int]] = field(default_factory=list)
    most: int = 0

    async def handle(self, each: Event) -> None:
        self.started.append((each.partition, each.sequence_number))
        self.running.append(each.sequence_number)
        self.most = max(self.most, len(self.running))
        await asyncio.sleep(0.001)
        await self.release.wait()
        self.running.remove(each.sequence_number)


async def crash(
    rig: Rig, times: int, source: Source = SOURCE, first: int = 0, last: int = 3
) -> None:
    """Let a number of processes die while a batch is open."""
    for number in range(times):
        text = opening_text(dead(number), first, last, f"host:{number}")
        await rig.store.claim(source, opening=text)


def openings(rig: Rig) -> list[ProcessName]:
    """Return the processes with an opening of the partition."""
    return [each.process for each in parsed(Opening, rig.store.openings(SOURCE))]


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the test's time limit ends a wait in vain."""
    while not condition():
        await asyncio.sleep(0)


@asynccontextmanager
async def busy_rig(**options: Any) -> AsyncIterator[tuple[Rig, Busy]]:
    busy = Busy()
    async with open_rig(busy.handle, **options) as rig:
        yield rig, busy


@pytest.mark.parametrize(("crashes", "at_once"), [(2, 4), (3, 1)])
async def test_careful_mode_begins_after_three_crashes(crashes: int, at_once: int) -> None:
    """Before, all lanes run at the same time."""
    async with busy_rig() as (rig, busy):
        busy.release.set()
        await crash(rig, crashes)
        await rig.processor.process(batch(keyed("a", "b", "c", "d")))
        assert busy.most == at_once


async def test_next_batch_runs_in_all_lanes_again() -> None:
    """Careful mode ends when the batch that began it has returned."""
    async with busy_rig() as (rig, busy):
        busy.release.set()
        await crash(rig, 3)
        await rig.processor.process(batch(keyed("a", "b", "c", "d")))
        assert busy.most == 1
        await rig.processor.process(batch([event(n, f"k{n}") for n in range(4, 8)]))
        assert busy.most == 4


async def test_careful_mode_covers_all_partitions() -> None:
    """Events that began before careful mode end first, and then one event runs at a time."""
    async with busy_rig() as (rig, busy):
        await crash(rig, 3)
        calm = [event(number, f"k{number}", source=OTHER) for number in range(10, 13)]
        other = asyncio.create_task(rig.processor.process(batch(calm, OTHER)))
        await until(lambda: len(busy.running) == 3)
        careful = asyncio.create_task(rig.processor.process(batch(keyed("a", "b", "c"))))
        await until(lambda: rig.crashes.careful.on)
        await asyncio.sleep(0.05)
        assert len(busy.running) == 3, "no event begins beside those of the other partition"
        busy.most = 0
        busy.release.set()
        await asyncio.gather(other, careful)
        assert busy.most == 1
        assert len(busy.started) == 6


async def test_event_that_waits_for_its_retry_does_not_run_beside_another() -> None:
    """Each attempt of an event needs the turn."""
    running, most, failed = 0, 0, set[int]()

    async def handle(each: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        if each.sequence_number not in failed:
            failed.add(each.sequence_number)
            raise LookupError("again")

    async with open_rig(handle) as rig:
        await crash(rig, 3)
        result = await rig.processor.process(batch(keyed("a", "b", "c")))
        assert (most, result.handled) == (1, 3)


async def test_opening_of_a_living_process_is_no_crash() -> None:
    """A partition that moves to another instance is opened again, too."""
    async with busy_rig() as (rig, busy):
        busy.release.set()
        await crash(rig, 2)
        await rig.store.claim(SOURCE, opening=opening_text(parent(), 0, 3, "host"))
        await rig.processor.process(batch(keyed("a", "b", "c", "d")))
        assert busy.most == 4


async def test_silent_process_of_another_machine_is_dead() -> None:
    """A process with a heartbeat is alive."""
    stores: list[MemoryCrashStore] = []

    def kept(parking: Any) -> MemoryCrashStore:
        stores.append(MemoryCrashStore(parking))
        return stores[-1]

    for beats, at_once in ((True, 4), (False, 1)):
        async with busy_rig(crash_store=kept) as (rig, busy):
            busy.release.set()
            await crash(rig, 2)
            far = ProcessName("elsewhere", 1, "1")
            await rig.store.claim(SOURCE, opening=opening_text(far, 0, 3, "far"))
            if beats:
                await stores[-1].beat(far)
            await rig.processor.process(batch(keyed("a", "b", "c", "d")))
            assert busy.most == at_once


async def test_crash_counts_while_its_batch_includes_the_first_unfinished_event() -> None:
    """Other lanes finish events, so the first event of the batch is another one each time."""
    async with busy_rig() as (rig, busy):
        busy.release.set()
        for number, (first, last) in enumerate([(0, 3), (1, 9), (2, 3)]):
            text = opening_text(dead(number), first, last, "host")
            await rig.store.claim(SOURCE, opening=text)
        await rig.processor.process(batch([event(n, f"k{n}") for n in range(2, 6)]))
        assert busy.most == 1


async def test_crash_of_another_batch_does_not_count() -> None:
    """The batch of each crash is finished, or began behind the event."""
    async with busy_rig() as (rig, busy):
        busy.release.set()
        await crash(rig, 2)
        await rig.store.claim(SOURCE, opening=opening_text(dead(8), 2, 9, "host"))
        await rig.processor.process(batch(keyed("a", "b", "c", "d")))
        assert busy.most == 4


async def test_event_is_recorded_before_its_handler_starts_and_until_it_ends() -> None:
    """A death in between finds the record."""
    seen: list[int] = []
    stores: list[MemoryCrashStore] = []

    def kept(parking: Any) -> MemoryCrashStore:
        stores.append(MemoryCrashStore(parking))
        return stores[-1]

    async def handle(each: Event) -> None:
        (store,) = stores
        found = [await store.runs(SOURCE, position_of(event(n, "k"))) for n in range(3)]
        seen.extend(number for number, runs in enumerate(found) if runs)
        if each.sequence_number == 1:
            raise LookupError("ends the call as well")

    async with open_rig(handle, settings={"max_attempts": 1}, crash_store=kept) as rig:
        await crash(rig, 3)
        await rig.processor.process(batch(keyed("a", "b", "c")))
        assert sorted(seen) == [0, 1, 2]
        for number in range(3):
            assert await stores[0].runs(SOURCE, position_of(event(number, "k"))) == []


class DeadRuns(MemoryCrashStore):
    """A store with runs that ended with their processes."""

    def __init__(self, parking: Any, position: Position, *seconds: float) -> None:
        self.now = 1000.0
        super().__init__(parking, lambda: self.now)
        self._position, self._seconds = position, seconds

    async def prepare(self) -> None:
        for number, each in enumerate(self._seconds):
            await self.begin(SOURCE, dead(number), self._position)
            self.now += each
            await self.still_runs(SOURCE, dead(number), self._position)
            self.now += 5.0  # the next run follows the death, and its pause


@asynccontextmanager
async def rig_with_deaths(number: int, *seconds: float, **options: Any) -> AsyncIterator[Rig]:
    """Open a rig in which an event has been alone in flight at deaths after these times."""
    stores: list[DeadRuns] = []

    def kept(parking: Any) -> DeadRuns:
        stores.append(DeadRuns(parking, position_of(event(number, "k")), *seconds))
        return stores[-1]

    async with open_rig(crash_store=kept, **options) as rig:
        await stores[0].prepare()
        await crash(rig, 3)
        yield rig


async def test_event_alone_at_two_deaths_is_poisoned_whole() -> None:
    """The message has the body and the reason; the handler is not called, and the key continues."""
    async with rig_with_deaths(1, 0.2, 0.0) as rig:
        events = [event(0, "a"), event(1, "b", body=b"boom"), event(2, "b"), event(3, "c")]
        result = await rig.processor.process(batch(events))
        assert (result.handled, result.poisoned) == (3, 1)
        assert sorted(rig.handled) == [0, 2, 3]
        (message,) = rig.poison.messages
        assert (message.sequence_number, message.body, message.key) == (1, "Ym9vbQ==", "b")
        assert message.error.type.endswith("CrashLoopError")
        assert "only one in flight at the death of 2 processes" in message.error.message


async def test_event_alone_at_deaths_after_different_times_runs_again() -> None:
    """A deploy finds a slow event at any time of its call."""
    async with rig_with_deaths(1, 8.0, 3.0, settings={"hold_seconds": 0.01}) as rig:
        result = await rig.processor.process(batch(keyed("a", "b", "c")))
        assert (result.handled, result.poisoned) == (3, 0)


async def test_other_events_are_not_blamed() -> None:
    """Only the event that was alone in flight is poisoned."""
    async with rig_with_deaths(1, 0.0, 0.0) as rig:
        await rig.processor.process(batch([event(n, f"k{n}") for n in range(4)]))
        assert rig.poisoned == [1]


async def test_success_clears_an_events_deaths() -> None:
    """One earlier death must not add to a death in a year."""
    async with rig_with_deaths(1, 0.0, settings={"hold_seconds": 0.01}) as rig:
        await rig.processor.process(batch(keyed("a", "b")))
        assert sorted(rig.handled) == [0, 1]
        assert await rig.crashes._store.runs(SOURCE, position_of(event(1, "k"))) == []


async def test_error_of_the_batch_closes_its_opening() -> None:
    """The invocation raised, so its process has not died."""
    async with open_rig() as rig:

        async def lost(*_arguments: object) -> bool:
            return False

        rig.progress.commit = lost  # type: ignore[assignment,method-assign]
        with pytest.raises(OwnershipLostError):
            await rig.processor.process(batch(keyed("a", "b")))
        assert openings(rig) == []


async def test_return_leaves_no_opening_for_the_next_claim() -> None:
    """The progress covers the batch, so no command removes the opening."""
    async with open_rig() as rig:
        await rig.processor.process(batch(keyed("a", "b")))
        text = opening_text(dead(1), 2, 3, "host")
        assert (await rig.store.claim(SOURCE, opening=text)).openings == ()


async def test_process_that_is_asked_to_stop_closes_its_openings_at_once() -> None:
    """The platform kills a process whose handler does not end in time."""
    async with busy_rig() as (rig, busy):
        running = asyncio.create_task(rig.processor.process(batch(keyed("a", "b"))))
        await until(lambda: len(busy.running) == 2)
        assert openings(rig) == [THIS]
        rig.processor.stop()
        await until(lambda: not rig.crashes._closing)
        assert len(busy.running) == 2
        assert openings(rig) == []
        busy.release.set()
        await running


async def test_process_that_is_asked_to_stop_is_not_blamed_in_careful_mode() -> None:
    """The event in flight has no record any more, and the waiting event does not start."""
    async with busy_rig() as (rig, busy):
        await crash(rig, 3)
        running = asyncio.create_task(rig.processor.process(batch(keyed("a", "b"))))
        await until(lambda: len(busy.running) == 1)
        rig.processor.stop()
        await until(lambda: not rig.crashes._closing)
        assert await rig.crashes._store.runs(SOURCE, position_of(event(0, "k"))) == []
        busy.release.set()
        with pytest.raises(ShutdownError):
            await running
        assert busy.started == [("0", 0)]
        assert (rig.poisoned, openings(rig)) == ([], [dead(0), dead(1), dead(2)])


async def test_cancelled_invocation_keeps_its_opening() -> None:
    """At the end of a process all tasks are cancelled, although nobody asked for the end."""
    async with busy_rig() as (rig, busy):
        running = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
        await until(lambda: busy.running)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert openings(rig) == [THIS]


@pytest.mark.parametrize("error", [ValueError, SystemExit, None])
async def test_cancelled_invocation_keeps_its_record_and_the_event(
    error: type[BaseException] | None,
) -> None:
    """Also if the handler turns its cancellation into another error, as task groups may."""
    started = asyncio.Event()

    async def handle(each: Event) -> None:
        try:
            started.set()
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            if error is not None:
                raise error from None
            raise

    async with open_rig(handle, settings={"max_attempts": 1}) as rig:
        await crash(rig, 3)
        running = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
        await started.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        runs = await rig.crashes._store.runs(SOURCE, position_of(event(0, "k")))
        assert [each.process for each in runs] == [THIS]
        assert (rig.poisoned, running.cancelled()) == ([], True)


async def test_no_event_starts_in_careful_mode_after_the_circuit_has_opened() -> None:
    """C5: an event that waits for its turn waits for the circuit afterwards."""
    async with busy_rig(settings={"hold_seconds": 0.2}) as (rig, busy):
        await crash(rig, 3)
        running = asyncio.create_task(rig.processor.process(batch(keyed("a", "b", "c"))))
        await until(lambda: len(busy.running) == 1)
        await trip(rig.breaker)
        assert rig.breaker.circuit.state is CircuitState.OPEN
        busy.release.set()
        await asyncio.gather(running, return_exceptions=True)
        assert busy.started == [("0", 0)]


async def test_careful_mode_is_seen_everywhere(caplog: pytest.LogCaptureFixture) -> None:
    """C11: health, log and metric say that it is on, and why."""
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("test")

    def gauge() -> float:
        found = reader.get_metrics_data()
        assert found is not None
        (metric,) = found.resource_metrics[0].scope_metrics[0].metrics
        assert metric.name == "processing.careful"
        return metric.data.data_points[0].value  # type: ignore[union-attr]

    async with busy_rig() as (rig, busy):
        create_careful_gauge(rig.crashes.careful, meter)
        assert (gauge(), rig.crashes.problem) == (0, None)
        await crash(rig, 3)
        with caplog.at_level(logging.ERROR):
            running = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
            await until(lambda: busy.running)
        assert gauge() == 1
        problem = rig.crashes.problem
        assert problem is not None
        assert "one event at a time" in problem
        assert "host:0, host:1, host:2" in problem
        assert event(0).id in problem
        assert event(0).id in caplog.text
        busy.release.set()
        await running
        assert (gauge(), rig.crashes.problem) == (0, None)


MEMORY_ERRORS: dict[str, Callable[[], BaseException]] = {
    "plain": MemoryError,
    "group": lambda: ExceptionGroup("tasks", [ValueError(), MemoryError()]),
    "cause": lambda: caused(RuntimeError("no image"), MemoryError()),
}


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("name", MEMORY_ERRORS)
async def test_event_without_memory_ends_its_process(name: str) -> None:
    """Also in a group, and as the cause of another error."""

    async def handle(_each: Event) -> None:
        raise MEMORY_ERRORS[name]()

    async with open_rig(handle, settings={"max_attempts": 1, "hold_seconds": 0.01}) as rig:
        await asyncio.gather(rig.processor.process(batch(keyed("a"))), return_exceptions=True)
        assert set(rig.ended) == {0}


async def test_other_errors_end_no_process() -> None:
    """An error that was only being handled when another error was raised says nothing."""

    async def handle(_each: Event) -> None:
        try:
            raise MemoryError
        except MemoryError:
            raise LookupError("other") from None

    async with open_rig(handle, settings={"max_attempts": 1}) as rig:
        await rig.processor.process(batch(keyed("a")))
        assert (rig.ended, rig.poisoned) == ([], [0])


async def test_shutdown_before_an_event_runs_alone_again_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The event waits for its second run alone, and its handler is never called."""
    async with rig_with_deaths(1, 0.0, settings={"max_attempts": 1}) as rig:
        running = asyncio.create_task(rig.processor.process(batch([event(1, "b")])))
        await until(lambda: "runs again after a pause" in caplog.text)
        rig.processor.stop()
        with pytest.raises(ShutdownError):
            await running
        assert (rig.handled, rig.poisoned) == ([], [])
        assert (await rig.breaker.refresh()).failures == 0


@simulated
async def test_no_retry_starts_in_careful_mode_after_the_deadline() -> None:
    """Each of many lanes waits for its turn, and their calls one after another take too long."""
    started: list[float] = []

    async def fails(_each: Event) -> None:
        started.append(asyncio.get_running_loop().time())
        await asyncio.sleep(3.5)
        raise LookupError("x")

    budget = TimeBudget.of(FunctionTimeout(100.0), 4.0)
    pauses = {"retry_initial_seconds": 0.1, "retry_max_seconds": 0.1, "max_attempts": 30}
    async with open_rig(fails, settings=pauses, budget=budget) as rig:
        began = asyncio.get_running_loop().time()
        await crash(rig, 3)
        with pytest.raises(OutOfTimeError):
            await rig.processor.process(batch(keyed("a", "b", "c", "d")))
        assert len(started) > 15
        assert max(started) - began <= 80


async def test_no_retry_starts_in_careful_mode_after_the_claim_was_lost() -> None:
    """A crash loop moves partitions: the new owner may handle the event at the same time."""
    release, started = asyncio.Event(), Counter[int]()

    async def handle(each: Event) -> None:
        started[each.sequence_number] += 1
        if each.sequence_number == 0:
            raise LookupError("x")
        await release.wait()

    pauses = {"retry_initial_seconds": 0.01, "retry_max_seconds": 0.01}
    async with open_rig(handle, settings=pauses) as rig:
        await crash(rig, 3)
        others = batch([event(1, "b", source=OTHER)], OTHER)
        running = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
        await until(lambda: started[0])
        other = asyncio.create_task(rig.processor.process(others))
        await until(lambda: started[1])
        await asyncio.sleep(0.1)  # the retry waits for its turn
        await rig.store.claim(SOURCE)
        release.set()
        await other
        with pytest.raises(OwnershipLostError):
            await running
        assert started == {0: 1, 1: 1}


async def test_no_event_starts_in_careful_mode_if_the_process_stops_while_it_is_recorded() -> None:
    """The process ends soon, and nobody would remove the record."""

    class Stopping(MemoryCrashStore):
        async def begin(self, source: Source, process: ProcessName, position: Position) -> None:
            await super().begin(source, process, position)
            rig.processor.stop()

    async with busy_rig(crash_store=Stopping) as (rig, busy):
        busy.release.set()
        await crash(rig, 3)
        with pytest.raises(ShutdownError):
            await rig.processor.process(batch(keyed("a")))
        assert busy.started == []
        assert await rig.crashes._store.runs(SOURCE, position_of(event(0, "a"))) == []


async def test_invocation_that_is_cancelled_while_its_record_is_removed_ends() -> None:
    """Otherwise the shutdown would wait for it, for as long as it waits for a handler."""
    closing = asyncio.Event()

    class Hanging(MemoryCrashStore):
        async def close(self, source: Source, process: ProcessName) -> None:
            closing.set()
            await asyncio.Event().wait()

    async with busy_rig(crash_store=Hanging) as (rig, busy):
        running = asyncio.create_task(rig.processor.process(batch(keyed("a", "a"))))
        await until(lambda: busy.running)
        rig.processor.parts.gate.stop()
        busy.release.set()
        await closing.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.wait_for(rig.processor.wait_idle(), 1)
