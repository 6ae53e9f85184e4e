"""Each reason of a stall is in health, log, metric and console row in time (promise C11)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from breaker import BreakerSettings, Circuit, CircuitBreaker, CircuitOpenError, MemoryCircuitStore
from breaker.clock import ManualClock
from processing.errors import (
    DependencyUnavailableError,
    ParkedEventsLostError,
    ParkingFullError,
    StorageUnavailableError,
)
from processing.identity import Source
from processing.monitoring.fleet import GAP_SECONDS
from processing.monitoring.health import HealthReport
from processing.monitoring.partition_state import State
from processing.monitoring.reasons import Why
from processing.monitoring.watching import Watching
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import ListKey, Lone, position_of
from processing.parking.store import WritingAs
from processing.progress.store import Mark
from tests.support.processing.events import IDENTITY, SOURCE, event
from tests.support.processing.watch_rig import WatchRig

AGE = "processing.oldest_unfinished_seconds"
QUIET = Source(IDENTITY, "2")


@pytest.fixture
async def breaker() -> AsyncIterator[CircuitBreaker]:
    rules, clock = BreakerSettings(), ManualClock()
    store = MemoryCircuitStore(rules.name, now_us=clock.now_us)
    async with CircuitBreaker(store, rules, clock=clock) as found:
        yield found


@pytest.fixture
async def rig(breaker: CircuitBreaker) -> WatchRig:
    """Return an instance; all events of partition 2 are finished."""
    found = WatchRig(breaker, ManualClock())
    await found.progress.commit(QUIET, 0, Mark(9, 1), [])
    return found


async def seen(rig: WatchRig, report: HealthReport, partition: str = "0") -> tuple[Any, ...]:
    """Return the partition's state in health, in the console's row and in the metric."""
    health = next((each.state for each in report.states if each.partition == partition), State.OK)
    row = next(each for each in (await rig.table.table())["rows"] if each["partition"] == partition)
    metric = [state for number, state in rig.gauge(AGE) if number == partition]
    return (health, row["state"], *metric)


ALL_STALLED = (State.STALLED, "stalled", "stalled")


@pytest.mark.parametrize(
    ("why", "error"),
    [
        (Why.FAILING, RuntimeError("bug")),
        (Why.KEPT, DependencyUnavailableError("bank")),
        (Why.KEYLESS, DependencyUnavailableError("bank")),
        (Why.FULL, ParkingFullError("10000 events")),
        (Why.STORAGE, StorageUnavailableError("queue")),
        (Why.OVERDUE, "the call has run for 120 s"),
    ],
)
async def test_waiting_event_is_seen_everywhere_in_time(
    rig: WatchRig, why: Why, error: BaseException | str
) -> None:
    """Not before `stall_seconds`, and at most 5 s after it."""
    rig.watch.began(SOURCE, event(5))
    rig.watch.waits(SOURCE, event(5), why, error)
    assert (await rig.after(59)).status == "ok"
    report = await rig.after(6)
    assert await seen(rig, report) == ALL_STALLED
    (state,) = report.states
    assert (state.why, state.sequence_number) == (why, 5)
    assert rig.gauge(AGE)["0", "stalled"] >= 60
    (banner,) = (await rig.table.table())["stalled"]
    assert banner["event"].startswith("events/0/5")
    assert str(error) in banner["why"]
    assert banner["todo"] == state.todo


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (StorageUnavailableError("queue"), Why.STORAGE),
        (ParkedEventsLostError("no token"), Why.LOST),
        (DependencyUnavailableError("bank"), Why.KEPT),
    ],
)
async def test_failing_invocations_are_seen_everywhere_in_time(
    rig: WatchRig, error: Exception, why: Why
) -> None:
    """The claim fails, so that not even the first unfinished event is known."""
    for _ in range(13):
        rig.watch.began(SOURCE, event(5))
        rig.watch.ended(SOURCE, error)
        report = await rig.after(5)
    assert await seen(rig, report) == ALL_STALLED
    assert report.states[0].why is why


async def test_event_that_nobody_receives_is_seen_everywhere_in_time(rig: WatchRig) -> None:
    """No instance reports anything; the hub has later events and the watermark does not move."""
    await rig.progress.commit(SOURCE, 0, Mark(6, 1), [])
    assert (await rig.after(59)).status == "ok"
    report = await rig.after(6)
    assert await seen(rig, report) == ALL_STALLED
    (state,) = report.states
    assert (state.why, state.sequence_number) == (Why.NOT_HANDED_OVER, 7)
    assert "3 events wait" in state.reason


async def test_checkpoint_behind_the_last_event_is_no_stall(rig: WatchRig) -> None:
    """The progress of an idle partition has expired; the host's checkpoint has not."""
    rig.checkpoints = {"0": 9}
    assert (await rig.after(120)).states == ()
    rig.checkpoints = {"0": 8}
    assert [each.why for each in (await rig.after(65)).states] == [Why.NOT_HANDED_OVER]


async def test_unreadable_checkpoint_hides_no_stall(rig: WatchRig) -> None:
    """Without the storage no event is handled either."""
    rig.checkpoints = None
    assert [each.why for each in (await rig.after(60)).states] == [Why.NOT_HANDED_OVER]


async def test_trigger_that_starts_at_the_end_has_no_stall_before_its_first_event(
    breaker: CircuitBreaker,
) -> None:
    """Nobody will receive the retained events; with progress there is a first event."""
    rig = WatchRig(breaker, ManualClock(), from_start=False)
    assert (await rig.after(120)).states == ()
    await rig.progress.commit(SOURCE, 0, Mark(6, 1), [])
    assert [each.partition for each in (await rig.after(60)).states] == ["0"]


async def test_crash_loop_is_seen_by_each_new_process(rig: WatchRig) -> None:
    """Each process lives for 20 s; the fleet remembers the watermark's age."""
    crashed = rig
    for number in range(4):
        crashed = WatchRig(rig.breaker, rig.clock, fleet=rig.fleet, instance=f"here:{number}")
        crashed.progress = rig.progress
        crashed.survey = rig.survey
        crashed.watching = Watching(
            crashed.watch, rig.fleet, rig.survey, f"here:{number}", clock=rig.clock.monotonic
        )
        crashed.watch.began(SOURCE, event(5))
        await crashed.after(20)
    (state,) = crashed.watching.states
    assert (state.state, state.why) == (State.STALLED, Why.RESTARTED)
    assert state.seconds >= 60


async def test_progress_is_no_stall(rig: WatchRig) -> None:
    """A busy partition always has an unfinished event."""
    for number in range(6, 18):
        rig.hub.last = number + 4
        rig.watch.began(SOURCE, event(number))
        for source in (SOURCE, QUIET):
            await rig.progress.commit(source, 0, Mark(number - 1, 1), [])
        report = await rig.after(10)
        assert report.status == "ok"


async def test_slow_call_is_slow_everywhere_until_its_limit(rig: WatchRig) -> None:
    """`slow` has no alarm; a call over its limit has one."""
    rig.watch.began(SOURCE, event(5))
    report = await rig.after(64)
    assert await seen(rig, report) == (State.SLOW, "slow", "slow")
    assert report.status == "ok"
    report = await rig.after(6)
    assert await seen(rig, report) == ALL_STALLED
    assert report.states[0].why is Why.OVERDUE


async def test_open_circuit_that_waits_two_hours_is_holding(rig: WatchRig) -> None:
    """Nothing is stalled, neither by the instance's watch nor by the age of the watermark."""
    await rig.after(50)
    await rig.breaker.isolate("op", "test")
    for _ in range(120):
        rig.watch.began(SOURCE, event(5))
        rig.watch.ended(SOURCE, CircuitOpenError(Circuit("c")))
        report = await rig.after(60)
        assert not rig.watching.states or rig.watching.states[0].state is State.HOLDING
    assert await seen(rig, report) == (State.HOLDING, "holding", "holding")
    assert (report.status, report.is_healthy) == ("holding", True)
    await rig.breaker.close_circuit(1, "op")
    assert (await rig.after(55)).states == ()


async def test_stopped_app_begins_with_new_ages(rig: WatchRig) -> None:
    """The app was stopped for a night; its first survey finds no stall."""
    await rig.after(10)
    rig.clock.advance(GAP_SECONDS + 1)
    assert (await rig.after(55)).states == ()


async def test_another_instance_shows_the_state(rig: WatchRig) -> None:
    """Health of any instance and the console show all partitions."""
    rig.watch.began(SOURCE, event(5))
    rig.watch.waits(SOURCE, event(5), Why.KEPT, TimeoutError("bank"))
    await rig.after(65)
    other = WatchRig(rig.breaker, rig.clock, fleet=rig.fleet, instance="there:2")
    (state,) = (await other.health.report()).states
    assert (state.partition, state.why, state.instance) == ("0", Why.KEPT, "here:1")


async def test_report_of_a_dead_instance_expires(rig: WatchRig) -> None:
    """Then the age of the watermark alone says that nothing moves."""
    rig.watch.began(SOURCE, event(5))
    rig.watch.waits(SOURCE, event(5), Why.KEPT, TimeoutError("bank"))
    await rig.after(65)
    other = WatchRig(rig.breaker, rig.clock, fleet=rig.fleet, instance="there:2")
    await other.progress.commit(QUIET, 0, Mark(9, 1), [])
    report = await other.after(25)
    assert [each.why for each in report.states] == [Why.NOT_HANDED_OVER]


async def test_stall_is_logged_once_a_minute_and_at_its_end(
    rig: WatchRig, caplog: pytest.LogCaptureFixture
) -> None:
    """The line names the event, the reason and the response."""
    caplog.set_level(logging.INFO, "processing.monitoring")
    rig.watch.began(SOURCE, event(5))
    rig.watch.waits(SOURCE, event(5), Why.KEPT, TimeoutError("bank"))
    await rig.after(59 + 130)
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert len(lines) == 3
    assert "events/0/5 (key hash " in lines[0]
    assert "TimeoutError: bank" in lines[0]
    assert "Check the dependency" in lines[0]
    await rig.progress.commit(SOURCE, 0, Mark(9, 1), [])
    rig.watch.ended(SOURCE)
    await rig.after(6)
    assert caplog.records[-1].getMessage() == "Partition 0 is no longer stalled: it continued"


async def test_healthy_instance_sends_no_report(rig: WatchRig) -> None:
    """The first report deletes the report of an earlier process with the same name."""
    for _ in range(60):
        rig.watch.began(SOURCE, event(5))
        rig.watch.ended(SOURCE)
        await rig.after(1)
    assert rig.fleet.reported == 1


async def test_finished_partitions_have_the_age_zero(rig: WatchRig) -> None:
    """The series of a partition does not end when the partition is idle."""
    await rig.progress.commit(SOURCE, 0, Mark(9, 1), [])
    await rig.after(5)
    assert rig.gauge(AGE) == {("0", "ok"): 0, ("1", "ok"): 0, ("2", "ok"): 0}


async def defer(
    rig: WatchRig, key: ListKey, number: int, reason: DeferralReason = DeferralReason.DEPENDENCY
) -> None:
    owner = (await rig.parking.claim(SOURCE)).owner
    deferral = Deferral(reason, dependency="bank", error="TimeoutError: 5 s", attempts=4)
    entry = (position_of(event(number)), "{}")
    await rig.parking.defer(
        WritingAs(owner, ""), SOURCE, key, entry, deferral=deferral, pause_seconds=1
    )


async def test_key_deferred_for_ten_minutes_among_successes_is_reported(rig: WatchRig) -> None:
    """The partition continues; the key's dependency serves other keys."""
    await rig.progress.commit(SOURCE, 0, Mark(9, 1), [])
    await defer(rig, "bad", 6)
    await rig.after(300)
    await defer(rig, Lone(position_of(event(7, None))), 7)
    rig.last_success = rig.clock.monotonic() + 1
    assert (await rig.after(295)).status == "ok"
    report = await rig.after(10)
    assert report.status == "stalled"
    assert await seen(rig, report) == ALL_STALLED
    (state,) = report.states
    assert (state.deferred, state.why) == (True, Why.DEFERRED)
    assert state.reason == "dependency bank, 4 attempts: TimeoutError: 5 s"
    assert "parked list" in state.todo
    assert rig.gauge("processing.deferred_keys")["0",] == 2
    assert rig.gauge("processing.deferred_events")["0",] == 2
    (state,) = (await rig.after(300)).states
    assert state.reason.endswith("; 1 more such keys")


async def test_deferred_keys_without_a_success_are_not_reported(rig: WatchRig) -> None:
    """The dependency is down for all keys; the rules of the circuit decide."""
    await rig.progress.commit(SOURCE, 0, Mark(9, 1), [])
    rig.last_success = rig.clock.monotonic() - 1
    await defer(rig, "bad", 6)
    assert (await rig.after(700)).states == ()


async def test_deferred_key_is_not_reported_while_the_circuit_holds(rig: WatchRig) -> None:
    """The circuit has an alarm of its own."""
    await rig.progress.commit(SOURCE, 0, Mark(9, 1), [])
    await defer(rig, "bad", 6)
    await rig.after(300)
    rig.last_success = rig.clock.monotonic()
    await rig.breaker.isolate("op", "test")
    assert (await rig.after(400)).states == ()


async def test_missing_heartbeat_of_the_replays_is_a_problem(rig: WatchRig) -> None:
    """Without the timer the deferred keys of silent partitions do not return."""
    await rig.progress.commit(SOURCE, 0, Mark(9, 1), [])
    await rig.after(5)
    rig.timer_runs = False
    await defer(rig, "bad", 6)
    assert (await rig.after(60)).problems == ()
    assert rig.gauge("processing.replays_stopped") == {(): 0}
    report = await rig.after(5)
    assert rig.gauge("processing.replays_stopped") == {(): 1}
    assert report.status == "degraded"
    text = "replay_deferred has not run for a minute, and 1 deferred keys wait"
    assert text in report.problems[0]
    rig.timer_runs = True
    assert (await rig.after(0)).problems == ()


async def test_lost_turn_ends_the_view_of_the_fleet(rig: WatchRig) -> None:
    """Another instance reports all partitions now."""
    await rig.after(5)
    assert rig.watching.partitions
    rig.clock.advance(30)
    await rig.fleet.take_turn("there:2")
    await rig.watching.survey()
    assert rig.watching.partitions == ()


async def test_time_on_hold_before_a_report_does_not_count(rig: WatchRig) -> None:
    """A hold is reported with the time since when its event has not changed."""
    rig.watch.began(SOURCE, event(5))
    await rig.breaker.isolate("op", "test")
    (state,) = (await rig.after(30)).states
    assert replace(state, key_hash="") == replace(
        state, state=State.HOLDING, seconds=30.0, why=Why.ISOLATED, key_hash=""
    )
