"""Health reports of an instance: ok, holding, stalled and degraded."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore, Mode
from breaker.clock import ManualClock
from processing.errors import FaultyHandlerError
from processing.identity import Source
from processing.monitoring.health import replicas_do_not_confirm
from processing.monitoring.partition_state import State
from processing.monitoring.reasons import Why
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import position_of
from processing.parking.store import WritingAs
from processing.partitions.lag import PartitionLag
from processing.progress.store import Mark
from processing.redrive.run_store import RunningRedrive
from tests.support.breaker.unreliable_store import UnreliableStore
from tests.support.processing.events import IDENTITY, SOURCE, event
from tests.support.processing.watch_rig import WatchRig


@pytest.fixture
async def rig() -> AsyncIterator[WatchRig]:
    rules, clock = BreakerSettings(), ManualClock()
    store = MemoryCircuitStore(rules.name, now_us=clock.now_us)
    async with CircuitBreaker(store, rules, clock=clock) as breaker:
        yield WatchRig(breaker, clock)


async def test_healthy_instance_reports_watermark_and_lag(rig: WatchRig) -> None:
    """The lag of a partition is the number of events behind its watermark."""
    await rig.progress.commit(SOURCE, 0, Mark(7, 1), [])
    report = await rig.health.report()
    assert (report.status, report.problems, report.is_healthy) == ("ok", (), True)
    assert report.partitions == (
        PartitionLag("0", watermark=7, last_enqueued=9, lag=2),
        PartitionLag("1", watermark=None, last_enqueued=None, lag=0),
        PartitionLag("2", watermark=None, last_enqueued=9, lag=5),
    )
    found = json.loads(json.dumps(report.to_json()))
    assert found["circuit"]["state"] == "closed"
    assert [each["state"] for each in found["partitions"]] == ["ok", "ok", "ok"]


async def test_report_says_whether_an_opening_stops_the_app() -> None:
    """Of a circuit that never opened, the setting decides."""
    rules, clock = BreakerSettings(stops_app=False), ManualClock()
    store = MemoryCircuitStore(rules.name, now_us=clock.now_us)
    async with CircuitBreaker(store, rules, clock=clock) as breaker:
        report = await WatchRig(breaker, clock).health.report()
    assert report.to_json()["circuit"]["stops_app"] is False


async def test_lag_counts_the_events_in_parked_lists(rig: WatchRig) -> None:
    """A deferred or parked event is not handled, although the watermark has passed it."""
    await rig.progress.commit(SOURCE, 0, Mark(9, 1), [])
    owner = (await rig.parking.claim(SOURCE)).owner
    first, writing = event(6), WritingAs(owner, "")
    deferral = Deferral(DeferralReason.DEPENDENCY, error="TimeoutError: bank")
    entry = (position_of(first), "{}")
    await rig.parking.defer(writing, SOURCE, "k", entry, deferral=deferral, pause_seconds=1)
    await rig.parking.park(writing, SOURCE, "k", [(position_of(event(7)), "{}")])
    (lag, *_) = (await rig.health.report()).partitions
    assert (lag.lag, lag.behind, lag.parked, lag.deferred) == (2, 0, 2, 1)
    assert lag.oldest_deferred == rig.clock.monotonic()


async def test_circuit_that_admits_nothing_reports_holding(rig: WatchRig) -> None:
    """Holding comes before degraded, also while the hub is unreachable."""
    await rig.breaker.isolate("op", "test")
    rig.hub.away = True
    report = await rig.health.report()
    assert report.status == "holding"
    assert len(report.problems) == 1


async def test_circuit_that_has_just_closed_reports_ramping(rig: WatchRig) -> None:
    """Lanes that wait for their turn are neither stalled nor on hold."""
    await rig.breaker.isolate("op", "test")
    await rig.breaker.close_circuit(1, "op")
    assert (await rig.health.report()).status == "ramping"


async def test_report_has_the_mode() -> None:
    """With observe, nobody may believe that the circuit protects anything."""
    rules = BreakerSettings(mode=Mode.OBSERVE)
    async with CircuitBreaker(MemoryCircuitStore(rules.name), rules) as breaker:
        report = await WatchRig(breaker, ManualClock()).health.report()
    assert json.loads(json.dumps(report.to_json()))["mode"] == "observe"


@pytest.mark.parametrize("is_full", [False, True])
async def test_refused_writes_are_reported_within_a_poll(is_full: bool) -> None:
    """The report quotes the store's reason, and a full store's as well, which is no outage."""
    rules, clock = BreakerSettings(), ManualClock()
    store = UnreliableStore(rules.name, now_us=clock.now_us)
    async with CircuitBreaker(store, rules, clock=clock) as breaker:
        store.refuses, store.is_full = "Redis answers but takes no writes: READONLY", is_full
        await breaker.refresh()
        report = await WatchRig(breaker, clock).health.report()
    assert (report.status, report.is_healthy) == ("degraded", False)
    assert report.problems == ("Redis answers but takes no writes: READONLY",)
    assert report.circuit.degraded is not is_full


async def test_unreachable_hub_reports_degraded(rig: WatchRig) -> None:
    """The report quotes the error of the hub's client."""
    rig.hub.away = True
    report = await rig.health.report()
    assert (report.status, report.partitions) == ("degraded", ())
    assert "no route" in report.problems[0]


async def test_instance_without_redis_shows_its_own_stall(rig: WatchRig) -> None:
    """The other partitions are unknown; the instance's own watch needs no store."""
    rig.fleet.away = True
    rig.watch.began(SOURCE, event(5))
    rig.watch.waits(SOURCE, event(5), Why.STORAGE, TimeoutError("queue"))
    report = await rig.after(60)
    assert report.status == "stalled"
    assert [(each.partition, each.state) for each in report.states] == [("0", State.STALLED)]
    assert "Redis does not answer" in report.problems[-1]


async def test_stall_is_a_problem_with_its_line(rig: WatchRig) -> None:
    """A monitor gets HTTP 503, and the operator reads the event, the reason and the response."""
    rig.watch.began(SOURCE, event(5))
    rig.watch.waits(SOURCE, event(5), Why.KEYLESS, TimeoutError("bank"))
    report = await rig.after(59)
    assert report.status == "ok"
    await rig.progress.commit(Source(IDENTITY, "2"), 0, Mark(9, 1), [])
    report = await rig.after(1)
    assert (report.status, report.is_healthy) == ("stalled", False)
    (problem,) = report.problems
    for part in ("events/0/5", "60 s", "TimeoutError: bank", "parked poison-head 0"):
        assert part in problem


async def test_circuit_of_a_dependency_reports_holding(rig: WatchRig) -> None:
    """The app's circuit is closed; the partition needs an open dependency."""
    rig.watch.began(SOURCE, event(5))
    rig.watch.waits(SOURCE, event(5), Why.CIRCUIT, "the circuit of bank is open")
    await rig.progress.commit(Source(IDENTITY, "2"), 0, Mark(9, 1), [])
    report = await rig.after(7200)
    assert (report.status, report.is_healthy) == ("holding", True)


async def test_faulty_handler_is_a_problem(rig: WatchRig) -> None:
    """The report names the handler and what was probably forgotten."""
    with pytest.raises(FaultyHandlerError):
        await rig.results.settle(ValueError("returned instead of raised"))
    report = await rig.health.report()
    assert report.status == "degraded"
    assert report.problems == (
        "handler my:handle returned an exception: a raise is missing; its events are kept until it "
        "is corrected",
    )


async def test_old_version_beside_this_one_is_a_problem(rig: WatchRig) -> None:
    """The report names the partitions and the command that takes their data over."""
    rig.old = {"0", "2"}
    report = await rig.health.report()
    assert report.status == "degraded"
    (problem,) = report.problems
    assert "version 0.1 has processed partition 0, 2" in problem
    assert "breakwater migrate" in problem


async def test_warning_of_the_start_does_not_change_the_status(rig: WatchRig) -> None:
    """A weakness of the deployment lasts; a monitor that fails all the time is switched off."""
    rig.warnings.append(replicas_do_not_confirm(1))
    report = await rig.health.report()
    assert (report.status, report.is_healthy) == ("ok", True)
    assert "a failover may lose the last second of parked events" in report.warnings[0]


async def test_running_redrive_is_shown_and_changes_no_status(rig: WatchRig) -> None:
    """Operators see who redrives, and how far, also without the console."""
    await rig.progress.commit(SOURCE, 0, Mark(7, 1), [])
    async with rig.redrives.entered(RunningRedrive("anna@host1", since=1.0)) as run:
        run.progress(3, 20)
        report = await rig.health.report()
    (line,) = report.redrives
    assert line.startswith("anna@host1 redrives everything: ")
    assert (report.status, report.is_healthy) == ("ok", True)
    assert json.loads(json.dumps(report.to_json()))["redrives"] == [line]
    assert (await rig.health.report()).redrives == ()
