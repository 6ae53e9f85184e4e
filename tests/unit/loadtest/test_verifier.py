"""The verifier finds and names each kind of damage to a good run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loadtest.plan.marks import Fault
from loadtest.plan.settings import Scenario
from loadtest.plan.workload import Workload
from loadtest.verify.circuit_check import OPENED_ALERT
from loadtest.verify.evidence import Alert, LedgerEntry, RefusedCall, Transition
from loadtest.verify.expectation import Expectation
from tests.support.loadtest.finished_run import (
    ALERTS,
    CLOSED_US,
    HALF_OPEN_US,
    HISTORY,
    OPENED_US,
    entry,
    judge,
    ledgers,
    outage_workload,
    poison_message,
    poison_messages,
    sequence_of,
)


def test_good_run_passes() -> None:
    verdict = judge()
    assert verdict.broken == ()
    assert verdict.diff == ()
    assert (verdict.sent, verdict.handled, verdict.poisoned) == (40, 38, 2)
    assert (verdict.lost, verdict.duplicates, verdict.order_violations) == (0, 0, 0)
    assert (verdict.circuit.opened, verdict.circuit.alerts) == (1, 1)
    assert verdict.circuit.started_while_open == 0
    assert verdict.circuit.resumed is True
    assert verdict.circuit.stop_seconds == pytest.approx(8.506, abs=1e-3)


def test_lost_event_is_found() -> None:
    found = ledgers(outage_workload())
    lost = found["key-2"].pop(3)
    verdict = judge(found=found)
    assert verdict.lost == 1
    assert not verdict.kept
    assert verdict.diff == (f"lost: key-2 #{lost.counter}",)


def test_lost_key_is_found() -> None:
    workload = outage_workload()
    found = ledgers(workload)
    lost = len(found.pop("key-1"))
    assert judge(found=found).lost == lost


def test_duplicate_event_is_found() -> None:
    found = ledgers(outage_workload())
    found["key-1"].append(found["key-1"][0])
    verdict = judge(found=found)
    assert (verdict.duplicates, verdict.producer_duplicates) == (1, 0)
    assert verdict.handled == 38
    assert verdict.order_violations == 0
    assert not verdict.kept
    assert verdict.diff == (f"duplicate: key-1 #1 again at position {len(found['key-1'])}",)


def test_event_sent_twice_by_the_producer_breaks_no_promise() -> None:
    found = ledgers(outage_workload())
    again = found["key-1"][0]._replace(sequence=999)
    found["key-1"].insert(1, again)
    verdict = judge(found=found)
    assert (verdict.duplicates, verdict.producer_duplicates) == (0, 1)
    assert verdict.kept


def test_swapped_events_are_found() -> None:
    found = ledgers(outage_workload())
    entries = found["key-3"]
    entries[4], entries[5] = entries[5], entries[4]
    verdict = judge(found=found)
    assert verdict.order_violations == 1
    assert verdict.lost == 0
    assert not verdict.kept
    behind, ahead = entries[5].counter, entries[4].counter
    assert verdict.diff == (f"order violation: key-3 #{behind} at position 6 came after #{ahead}",)


def test_event_overtaken_by_many_counts_once() -> None:
    found = ledgers(outage_workload())
    found["key-3"].append(found["key-3"].pop(0))
    assert judge(found=found).order_violations == 1


def test_each_overtaken_event_counts() -> None:
    found = ledgers(outage_workload())
    found["key-3"].reverse()
    assert judge(found=found).order_violations == len(found["key-3"]) - 1


def test_missing_poison_message_is_found() -> None:
    messages = poison_messages(outage_workload())
    gone = messages.pop()
    verdict = judge(poison=messages)
    assert verdict.missing_poison == 1
    assert verdict.lost == 1
    assert not verdict.kept
    event = f"{gone['key']} #{gone['properties']['counter']}"
    assert f"missing poison: {event} is not in the poison queue" in verdict.diff


def test_faulty_event_in_the_ledger_is_unexpected_and_not_lost() -> None:
    workload = outage_workload()
    found = ledgers(workload)
    key, counters = next(iter(workload.faults.items()))
    (counter,) = counters
    found[key].insert(counter - 1, entry(workload.key_names.index(key), counter))
    messages = [m for m in poison_messages(workload) if m["key"] != key]
    verdict = judge(found=found, poison=messages)
    assert (verdict.lost, verdict.missing_poison, verdict.unexpected_handled) == (0, 1, 1)
    assert not verdict.kept


def test_healthy_event_in_the_poison_queue_is_found() -> None:
    workload = outage_workload()
    found = ledgers(workload)
    sound = found["key-0"].pop(0)
    message = poison_message("key-0", sound.counter, Fault.POISON, 1)
    verdict = judge(found=found, poison=[*poison_messages(workload), message])
    assert (verdict.lost, verdict.unexpected_poison) == (0, 1)
    assert not verdict.kept


def test_event_both_handled_and_poisoned_is_found() -> None:
    workload = outage_workload()
    message = poison_message("key-0", 1, Fault.POISON, 1)
    verdict = judge(poison=[*poison_messages(workload), message])
    assert any("key-0 #1 is in the poison queue too" in line for line in verdict.diff)
    assert not verdict.kept


def test_duplicate_poison_message_breaks_a_promise_unless_a_host_was_killed() -> None:
    messages = poison_messages(outage_workload())
    messages.append(messages[0])
    assert not judge(poison=messages).kept
    after_a_kill = judge(poison=messages, kills=1)
    assert after_a_kill.poison_duplicates == 1
    assert after_a_kill.poisoned == 2
    assert after_a_kill.kept


def test_poison_event_sent_twice_by_the_producer_breaks_no_promise() -> None:
    messages = poison_messages(outage_workload())
    messages.append({**messages[0], "sequence_number": 999})
    verdict = judge(poison=messages)
    assert (verdict.poison_duplicates, verdict.producer_duplicates) == (0, 1)
    assert verdict.kept


def test_event_sent_twice_and_handled_three_times_is_a_duplicate() -> None:
    found = ledgers(outage_workload())
    again = found["key-1"][0]._replace(sequence=999)
    found["key-1"] += [again, again]
    verdict = judge(found=found)
    assert (verdict.duplicates, verdict.producer_duplicates) == (1, 1)
    assert not verdict.kept


def test_more_repeats_than_events_in_flight_break_an_expectation() -> None:
    expectation = Expectation(1, 1, most_suppressed=10)
    assert judge(expectation=expectation, suppressed=10).kept
    broken = judge(expectation=expectation, suppressed=11).broken
    assert [line.partition(",")[0] for line in broken] == [
        "11 handled events reached the ledger again"
    ]
    assert judge(suppressed=11).kept, "no limit is known"


def test_events_and_keys_that_were_never_sent_are_found() -> None:
    found = ledgers(outage_workload())
    found["key-0"].append(entry(0, 11))
    found["stranger"] = [entry(0, 1)]
    verdict = judge(found=found)
    assert verdict.unexpected_handled == 2
    assert not verdict.kept


def test_unacknowledged_events_may_be_handled_or_missing() -> None:
    workload = outage_workload()
    sent = dict.fromkeys(workload.key_names, 10) | {"key-3": 8}
    unconfirmed = dict.fromkeys(workload.key_names, 10)
    complete = judge(sent=sent, unconfirmed=unconfirmed)
    assert complete.broken == ("38 events were sent, expected 40",)
    found = ledgers(workload)
    found["key-3"] = [entry for entry in found["key-3"] if entry.counter <= 8]
    assert judge(found=found, sent=sent, unconfirmed=unconfirmed).lost == 0


def test_parked_event_is_not_lost() -> None:
    found = ledgers(outage_workload())
    parked = found["key-2"].pop()
    verdict = judge(found=found, parked=frozenset({("key-2", parked.counter)}))
    assert (verdict.lost, verdict.parked) == (0, 1)


def test_unexpected_second_opening_is_found() -> None:
    again = (Transition("opened", 2, CLOSED_US + 1), Transition("half_opened", 2, CLOSED_US + 2))
    alert = Alert("breakwater:2:opened", OPENED_ALERT, 2)
    verdict = judge(history=(*HISTORY, *again), alerts=(*ALERTS, alert))
    assert verdict.circuit.opened == 2
    assert "the circuit opened 2 times, expected 1" in verdict.broken


def test_missing_opening_is_found() -> None:
    verdict = judge(history=(), alerts=(), refused=())
    assert verdict.broken == ("the circuit opened 0 times, expected 1",)
    assert verdict.circuit.resumed is None


def test_opening_long_after_the_first_refused_call_is_found() -> None:
    """The standstill rule must open the circuit in time, however few keys are in flight."""
    verdict = judge(expectation=Expectation(1, 1, most_seconds_to_open=0.1))
    assert verdict.kept
    assert verdict.circuit.seconds_to_open == 0.1
    late = judge(expectation=Expectation(1, 1, most_seconds_to_open=0.05)).broken
    assert late == (
        "the circuit opened 0.1 s after the first refused call, expected within 0.05 s",
    )


def test_opening_with_no_alert_or_two_alerts_is_found() -> None:
    assert not judge(alerts=()).kept
    second = Alert("breakwater:1:opened:again", OPENED_ALERT, 1)
    assert not judge(alerts=(*ALERTS, second)).kept
    assert judge(alerts=(*ALERTS, ALERTS[0])).kept, "a repeated alert has the same id"


def test_event_started_while_open_is_found() -> None:
    found = ledgers(outage_workload())
    late = found["key-0"][4]
    found["key-0"][4] = late._replace(appended_us=OPENED_US + 1_500_000)
    verdict = judge(found=found)
    assert verdict.circuit.started_while_open == 1
    assert not verdict.kept
    assert verdict.diff == (
        f"started while open: key-0 #{late.counter} started 1,500 ms after generation 1 opened",
    )


def test_event_that_hung_before_its_first_call_is_no_late_start() -> None:
    """The handler may have started before the opening; only the call leaves a trace."""
    workload = replace(outage_workload(), hang_every=1)
    found = ledgers(workload)
    found["key-0"][4] = found["key-0"][4]._replace(appended_us=OPENED_US + 3_500_000)
    assert judge(found=found).circuit.started_while_open == 1
    assert judge(workload, found=found).kept


def test_refused_first_call_while_open_counts_as_a_start() -> None:
    call = RefusedCall("key-1", 7, "0", sequence_of(1, 7), HALF_OPEN_US - 1)
    assert judge(refused=[call]).circuit.started_while_open == 1


def test_start_of_a_refused_and_lost_event_counts() -> None:
    workload = outage_workload()
    found = ledgers(workload)
    lost = found["key-1"].pop()
    place = sequence_of(1, lost.counter)
    call = RefusedCall("key-1", lost.counter, "0", place, OPENED_US + 2_000_000)
    verdict = judge(found=found, refused=[call])
    assert (verdict.lost, verdict.circuit.started_while_open) == (1, 1)


def test_retry_long_after_the_opening_is_found() -> None:
    """The gate must not admit an event again after its attempts have ended."""
    place = sequence_of(1, 7)
    before = RefusedCall("key-1", 7, "0", place, OPENED_US - 10)
    retry = before._replace(at_us=OPENED_US + 2_900_000)
    late = before._replace(at_us=OPENED_US + 3_000_000)
    assert judge(refused=[before, retry]).circuit.calls_while_open == 0
    verdict = judge(refused=[before, retry, late])
    assert verdict.circuit.calls_while_open == 1
    assert not verdict.kept
    assert judge(refused=[before._replace(at_us=HALF_OPEN_US)]).circuit.calls_while_open == 0


def test_call_that_waited_for_redis_is_no_call_while_open() -> None:
    """Redis, which is the downstream too, may go away right after an opening.

    The calls under way then reach Redis after its return, however long ago they began.
    """
    place = sequence_of(1, 7)
    before = RefusedCall("key-1", 7, "0", place, OPENED_US - 10)
    waited = before._replace(at_us=OPENED_US + 4_000_000)
    away = (OPENED_US + 500_000, OPENED_US + 3_900_000)
    assert judge(refused=[before, waited]).circuit.calls_while_open == 1
    assert judge(refused=[before, waited], redis_away=[away]).kept
    late = before._replace(at_us=away[1] + 3_000_000)
    assert judge(refused=[before, late], redis_away=[away]).circuit.calls_while_open == 1
    long_after = (OPENED_US + 3_100_000, OPENED_US + 3_900_000)
    found = judge(refused=[before, waited], redis_away=[long_after]).circuit
    assert found.calls_while_open == 1, "the attempts had ended before Redis went away"


def test_retry_of_an_event_in_flight_is_no_start_while_open() -> None:
    """Only the first call starts an event."""
    assert judge().circuit.started_while_open == 0


def test_starts_inside_the_grace_are_reported_but_allowed() -> None:
    found = ledgers(outage_workload())
    found["key-0"][4] = found["key-0"][4]._replace(appended_us=OPENED_US + 30_000)
    verdict = judge(found=found)
    assert verdict.circuit.last_start_after_open_ms == 30.0
    assert verdict.kept


SECOND = (
    Transition("opened", 2, CLOSED_US + 900_000),
    Transition("half_opened", 2, CLOSED_US + 9**9),
)
SECOND_ALERT = Alert("breakwater:2:opened", OPENED_ALERT, 2)


def test_opening_by_the_last_events_needs_no_events_to_resume() -> None:
    workload = Workload(Scenario.SEED, events=400, keys=4, poison_every=0, seed=0)
    good: dict[str, Any] = {
        "history": (*HISTORY, *SECOND),
        "alerts": (*ALERTS, SECOND_ALERT),
        "refused": (),
        "circuit_state": "half_open",
    }
    verdict = judge(workload, **good)
    assert verdict.broken == ()
    assert verdict.circuit.resumed is True
    found = ledgers(workload)
    found["key-0"].pop()
    verdict = judge(workload, found=found, **good)
    assert verdict.circuit.resumed is False
    assert "processing did not resume after the last opening" in verdict.broken


def test_circuit_open_at_the_end_is_found() -> None:
    verdict = judge(history=HISTORY[:1], circuit_state="open")
    assert verdict.circuit.resumed is False
    assert "the circuit is open at the end, expected closed" in verdict.broken


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("key", None, "key is None"),
        ("body", None, "body is None"),
        ("body", "e30=", "body is {}"),
        ("body", "?", "body is not the JSON that was sent"),
        ("partition", "", "partition is ''"),
        ("sequence_number", None, "sequence_number is None"),
        ("enqueued_time", "yesterday", "enqueued_time is 'yesterday'"),
        ("first_attempt_time", "2026-11-21T13:00:00+00:00", "is after last_attempt_time"),
        ("error", {}, "error is {}"),
        ("attempts", 4, "attempts is 4, expected 1"),
        ("handler", None, "handler is None"),
        ("id", None, "id is None"),
        ("instance", None, "instance is None"),
    ],
)
def test_incomplete_poison_message_is_found(field: str, value: Any, named: str) -> None:
    messages = poison_messages(outage_workload())
    messages[0][field] = value
    verdict = judge(poison=messages)
    assert verdict.malformed_poison == 1
    assert named in verdict.diff[0]
    assert not verdict.kept


def test_poison_message_without_key_and_counter_is_found() -> None:
    messages = poison_messages(outage_workload())
    messages[0]["properties"] = {}
    assert judge(poison=messages).malformed_poison == 1


def test_failing_event_is_poisoned_after_all_its_attempts() -> None:
    workload = Workload(Scenario.SEED, events=400, keys=4, poison_every=0, seed=0)
    good: dict[str, Any] = {"history": (), "alerts": (), "refused": ()}
    assert judge(workload, **good).kept
    messages = poison_messages(workload)
    messages[0]["attempts"] = 3
    verdict = judge(workload, poison=messages, **good)
    assert verdict.diff == ("malformed poison: key-0 #100: attempts is 3, expected 4",)


def test_diff_is_limited_when_every_event_is_lost() -> None:
    verdict = judge(found={}, poison=[])
    assert verdict.lost == 40
    assert "lost: … and 20 more" in verdict.diff


def test_ledger_entries_and_refused_calls_are_parsed() -> None:
    assert LedgerEntry.parse("7 3 41 1800000000000 1800000000000001") == LedgerEntry(
        7, "3", 41, 1_800_000_000_000, 1_800_000_000_000_001
    )
    assert RefusedCall.parse("a\tb\t7\t3\t41\t9") == RefusedCall("a\tb", 7, "3", 41, 9)
    with pytest.raises(ValueError, match="not a ledger entry: '7 3'"):
        LedgerEntry.parse("7 3")
    with pytest.raises(ValueError, match="not a refused call"):
        RefusedCall.parse("key")
