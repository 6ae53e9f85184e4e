"""Recreated hubs and expired events in health, in gauges and in the console's table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from breaker.clock import ManualClock
from processing.errors import StorageUnavailableError
from processing.formats.event_fields import key_hash
from processing.identity import Source
from processing.monitoring.moved_warning import MANY_KEYS
from processing.monitoring.partition_state import State
from processing.monitoring.reasons import Why
from processing.parking.event import position_of
from processing.parking.store import WritingAs
from processing.progress.store import Mark, Progress
from tests.support.processing.events import IDENTITY, SOURCE, event
from tests.support.processing.watch_rig import WatchRig


@pytest.fixture
async def rig() -> AsyncIterator[WatchRig]:
    rules, clock = BreakerSettings(), ManualClock()
    store = MemoryCircuitStore(rules.name, now_us=clock.now_us)
    async with CircuitBreaker(store, rules, clock=clock) as breaker:
        yield WatchRig(breaker, clock)


async def test_recreated_hub_is_reported_at_once_with_its_command(rig: WatchRig) -> None:
    """The platform passes no event from a checkpoint beyond the hub's end, so no batch shows it."""
    await rig.progress.commit(SOURCE, 0, Mark(99, 1), [])
    report = await rig.health.report()
    assert (report.status, report.is_healthy) == ("stalled", False)
    (state,) = report.states
    assert (state.state, state.why, state.sequence_number) == (State.STALLED, Why.RECREATED, 5)
    (problem,) = report.problems
    assert "event 99 is finished, and the hub ends at event 9" in problem
    assert "breakwater rewind --partition 0 --to-start" in problem
    assert report.partitions[0].lag == 5


async def test_recreated_hub_that_is_empty_is_reported(rig: WatchRig) -> None:
    await rig.progress.commit(SOURCE, 0, Mark(99, 1), [])
    rig.hub.first, rig.hub.last = 0, -1
    (problem,) = (await rig.health.report()).problems
    assert "its recreated hub waits for a decision" in problem
    assert "the hub is empty" in problem


async def test_open_circuit_does_not_hide_a_recreated_hub(rig: WatchRig) -> None:
    """The partition does not continue when the circuit closes."""
    await rig.progress.commit(SOURCE, 0, Mark(99, 1), [])
    await rig.breaker.isolate("op", "test")
    report = await rig.health.report()
    assert report.status == "holding"
    assert report.states[0].why is Why.RECREATED


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("events", [0, 5])
async def test_recreated_hub_sets_off_the_alarm_of_stalled_partitions(
    rig: WatchRig, events: int, isolated: bool
) -> None:
    """The alarm wants an age above 0 with the state `stalled`."""
    await rig.progress.commit(SOURCE, 0, Mark(99, 1), [])
    rig.hub.last = rig.hub.first + events - 1
    if isolated:
        await rig.breaker.isolate("op", "test")
    await rig.after(15)
    assert rig.gauge("processing.oldest_unfinished_seconds")["0", "stalled"] > 0
    row, *_ = (await rig.table.table())["rows"]
    assert (row["state"], row["recreated"], row["lag"]) == ("stalled", True, events)


async def test_rewound_partition_is_no_longer_stalled(rig: WatchRig) -> None:
    await rig.progress.commit(SOURCE, 0, Mark(99, 1), [])
    await rig.after(15)
    await rig.progress.reset(SOURCE)
    assert (await rig.health.report()).states == ()


async def test_expired_events_degrade_health_but_fail_no_probe(rig: WatchRig) -> None:
    """No restart brings the events back, so a monitor of HTTP answers has nothing to do."""
    await rig.progress.commit(SOURCE, 0, Mark(1, 1), [])
    rig.hub.first, rig.hub.last = 52, 56
    report = await rig.health.report()
    assert (report.status, report.is_healthy) == ("degraded", True)
    (problem,) = report.problems
    assert problem.startswith("partition 0 of events: 50 events expired unhandled")
    assert (report.partitions[0].lag, report.partitions[0].expired) == (5, 50)
    found = json.loads(json.dumps(report.to_json()))
    assert (found["is_healthy"], found["partitions"][0]["expired"]) == (True, 50)


async def test_expired_events_of_an_empty_hub_are_reported(rig: WatchRig) -> None:
    await rig.progress.commit(SOURCE, 0, Mark(9, 1), [])
    rig.hub.first, rig.hub.last = 11, 10
    report = await rig.health.report()
    assert report.problems[0].startswith("partition 0 of events: 1 event expired unhandled")
    assert report.partitions[0].lag == 0


async def test_another_problem_beside_expired_events_fails_the_probe(rig: WatchRig) -> None:
    await rig.progress.commit(SOURCE, 0, Mark(1, 1), [])
    rig.old.add("2")
    rig.hub.first, rig.hub.last = 52, 56
    report = await rig.health.report()
    assert (report.status, report.is_healthy, len(report.problems)) == ("degraded", False, 2)


async def test_stalled_partition_beside_expired_events_is_stalled(rig: WatchRig) -> None:
    await rig.progress.commit(SOURCE, 0, Mark(1, 1), [])
    rig.hub.first, rig.hub.last = 52, 56
    rig.watch.began(SOURCE, event(52))
    report = await rig.after(130)
    assert (report.status, report.is_healthy) == ("stalled", False)


async def test_expired_events_have_a_gauge_and_a_column(rig: WatchRig) -> None:
    await rig.progress.commit(SOURCE, 0, Mark(1, 1), [])
    rig.hub.first, rig.hub.last = 52, 56
    await rig.after(5)
    assert rig.gauge("processing.events_expired_pending") == {("0",): 50, ("1",): 0, ("2",): 0}
    assert [row["expired"] for row in (await rig.table.table())["rows"]] == [50, 0, 0]


async def test_instance_that_does_not_survey_reads_the_creation_every_fifteen_seconds(
    rig: WatchRig,
) -> None:
    """Each instance's processor compares the time, and one instance surveys."""
    await rig.fleet.take_turn("there:2")
    other = WatchRig(rig.breaker, rig.clock, fleet=rig.fleet, instance="there:2")
    await other.work()
    for _ in range(12):
        await rig.fleet.take_turn("there:2")
        rig.clock.advance(5)
        await rig.work()
    assert rig.created.created_ms == 1
    assert 3 <= rig.hub.described <= 4


async def test_instance_that_surveys_sends_no_further_request_for_the_creation(
    rig: WatchRig,
) -> None:
    for _ in range(12):
        rig.clock.advance(5)
        await rig.work()
    assert rig.hub.described == 12


async def test_noticed_gap_is_a_problem_for_a_day(rig: WatchRig) -> None:
    await rig.progress.commit(SOURCE, 0, Mark(56, 1), [])
    rig.hub.first, rig.hub.last = 52, 56
    await rig.gaps.record(SOURCE, 2, 51, created_ms=1, handled=(7,))
    report = await rig.health.report()
    assert (report.status, report.is_healthy) == ("degraded", True)
    (problem,) = report.problems
    assert "49 events expired unhandled (2 to 51)" in problem
    gap, *_ = report.to_json()["partitions"][0]["gaps"]
    assert (gap["first"], gap["last"], gap["events"]) == (2, 51, 49)
    rig.clock.advance(24 * 3600)
    assert (await rig.health.report()).status == "ok"


async def test_gap_and_its_successor_count_together(rig: WatchRig) -> None:
    """The later events have expired, too, and no batch has come since."""
    await rig.progress.commit(SOURCE, 0, Mark(1, 1), [])
    await rig.gaps.record(SOURCE, 2, 51, created_ms=1, handled=())
    rig.hub.first, rig.hub.last = 54, 56
    (problem,) = (await rig.health.report()).problems
    assert "52 events expired unhandled (2 to 51)" in problem


async def test_history_has_each_gap_and_each_recreation_once(rig: WatchRig) -> None:
    await rig.progress.commit(SOURCE, 0, Mark(9, 1), [])
    await rig.health.report()
    rig.clock.advance(1)
    await rig.gaps.record(SOURCE, 2, 51, created_ms=1, handled=())
    rig.clock.advance(1)
    rig.hub.created += timedelta(minutes=2)
    for _ in range(3):
        await rig.work()
        await rig.health.report()
    history = (await rig.table.table())["hub_history"]
    assert [(each["kind"], each["text"]) for each in history] == [
        ("recreated", "The hub was recreated at 1970-01-01 00:02 UTC"),
        ("expired", "Partition 0: 50 events expired unhandled (2 to 51)"),
    ]


async def test_grown_hub_is_a_warning_for_a_week(rig: WatchRig) -> None:
    """Keys come to other partitions; parked keys and the order need an operator's decision."""
    await rig.progress.commit(SOURCE, 0, Mark(9, 1), [])
    await rig.progress.commit(Source(IDENTITY, "2"), 0, Mark(9, 1), [])
    assert (await rig.health.report()).warnings == ()
    rig.hub.partitions = ("0", "1", "2", "3")
    await rig.progress.commit(Source(IDENTITY, "3"), 0, Mark(9, 1), [])
    report = await rig.health.report()
    (warning,) = report.warnings
    assert warning.startswith("the hub has 4 partitions and had 3 until 2023-11-14 22:13 UTC: ")
    assert (report.status, report.is_healthy) == ("ok", True)
    entry, *_ = (await rig.table.table())["hub_history"]
    assert entry["text"] == "The number of partitions changed from 3 to 4"
    rig.clock.advance(7 * 24 * 3600)
    assert (await rig.health.report()).warnings == ()


async def test_growth_names_the_keys_that_wait_since_then(rig: WatchRig) -> None:
    """Their next events may come to another partition, where their list does not hold them."""
    await rig.health.report()
    rig.hub.partitions = ("0", "1", "2", "3")
    (warning,) = (await rig.health.report()).warnings
    assert "No key waits since before the change" in warning
    before = rig.now_ms()
    claim = await rig.parking.claim(SOURCE, ["alice", "bob"])
    writing = WritingAs(claim.owner, "", creates=True)
    for number, (key, enqueued_ms) in enumerate(
        [("alice", before), ("bob", before + 3_600_000), (None, before)]
    ):
        each = event(number, key, enqueued_ms=enqueued_ms)
        await rig.parking.poison(writing, SOURCE, key, position_of(each), "p")
        rig.clock.advance(1)
    (warning,) = (await rig.health.report()).warnings
    assert f"1 key waits since before the change ({key_hash('alice')} in partition 0); " in warning
    assert await rig.parking.lease(SOURCE, "alice", "t", 1000)
    await rig.parking.finish(SOURCE, "alice", "t", position_of(event(0, enqueued_ms=before)))
    (warning,) = (await rig.health.report()).warnings
    assert "No key waits since before the change" in warning


async def test_growth_names_no_key_whose_place_another_key_has_taken(rig: WatchRig) -> None:
    """The numbers of the lists are as before."""
    await rig.health.report()
    rig.hub.partitions = ("0", "1", "2", "3")
    before = rig.now_ms()
    claim = await rig.parking.claim(SOURCE, ["alice", "bob"])
    writing = WritingAs(claim.owner, "", creates=True)
    position = position_of(event(0, enqueued_ms=before))
    await rig.parking.poison(writing, SOURCE, "alice", position, "p")
    (warning,) = (await rig.health.report()).warnings
    assert key_hash("alice") in warning
    assert await rig.parking.lease(SOURCE, "alice", "t", 1000)
    await rig.parking.finish(SOURCE, "alice", "t", position)
    position = position_of(event(1, enqueued_ms=before + 3_600_000))
    await rig.parking.poison(writing, SOURCE, "bob", position, "p")
    (warning,) = (await rig.health.report()).warnings
    assert "No key waits since before the change" in warning


async def test_growth_is_a_warning_although_the_keys_are_not_known(rig: WatchRig) -> None:
    """The lists cannot be read for a moment; the partitions are shown."""
    await rig.health.report()
    rig.hub.partitions = ("0", "1", "2", "3")

    async def fail() -> list[Source]:
        raise StorageUnavailableError("Redis is slow")

    rig.parking.sources = fail  # type: ignore[method-assign]
    report = await rig.health.report()
    assert len(report.partitions) == 4
    assert "is not known: Redis is slow. See" in report.warnings[0]


async def test_many_waiting_keys_are_read_once_a_minute(rig: WatchRig) -> None:
    """A health request each second must not list ten thousand keys each second."""
    await rig.health.report()
    rig.hub.partitions = ("0", "1", "2", "3")
    claim = await rig.parking.claim(SOURCE, [])
    writing = WritingAs(claim.owner, "", creates=True)
    for number in range(MANY_KEYS + 2):
        position = position_of(event(number, enqueued_ms=rig.now_ms()))
        await rig.parking.poison(writing, SOURCE, f"k{number}", position, "p")
    (first,) = (await rig.health.report()).warnings
    assert "502 keys wait since before the change (" in first
    assert ", 497 more); redrive or discard these keys first" in first
    await rig.parking.poison(writing, SOURCE, "late", position_of(event(9999, enqueued_ms=1)), "p")
    assert (await rig.health.report()).warnings == (first,)
    rig.clock.advance(60)
    (later,) = (await rig.health.report()).warnings
    assert "503 keys wait" in later


async def test_partition_that_cannot_be_read_hides_no_other_one(rig: WatchRig) -> None:
    """Neither their lag nor their stall; and the hub's number of partitions is not another one."""
    for partition, handled in (("0", 8), ("1", 9), ("2", 9)):
        await rig.progress.commit(Source(IDENTITY, partition), 0, Mark(handled, 1), [])
    assert (await rig.health.report()).status == "ok"
    rig.hub.broken = frozenset({"2"})
    report = await rig.health.report()
    assert report.problems == ("partition 2 cannot be read: event hub: no answer for 2",)
    assert [(each.partition, each.lag) for each in report.partitions] == [("0", 1), ("1", 0)]
    assert (report.status, report.warnings) == ("degraded", ())
    rows = (await rig.table.table())["rows"]
    assert [each["partition"] for each in rows] == ["0", "1"]
    rig.hub.broken = frozenset({"0", "1", "2"})
    assert (await rig.health.report()).problems == ("event hub: no answer for 0",)


async def test_odd_progress_of_a_partition_hides_no_other_one(
    rig: WatchRig, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the traceback once, not with each look."""
    load = rig.progress.load

    async def odd(source: Source) -> Progress:
        if source.partition == "1":
            raise KeyError("watermark")
        return await load(source)

    rig.progress.load = odd  # type: ignore[method-assign]
    for _ in range(2):
        report = await rig.health.report()
        assert report.problems == ("partition 1 cannot be read: KeyError: 'watermark'",)
        assert [each.partition for each in report.partitions] == ["0", "2"]
    traces = [each for each in caplog.records if each.exc_info]
    assert [each.getMessage() for each in traces] == ["Partition 1 cannot be read"]
    assert 'raise KeyError("watermark")' in caplog.text
