"""The evidence of a faultless run, which the tests damage."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from loadtest.observe.observer import Sample
from loadtest.operator import Approval
from loadtest.plan.marks import Fault
from loadtest.plan.settings import Scenario
from loadtest.plan.workload import Workload
from loadtest.report.report import Report
from loadtest.verify.circuit_check import OPENED_ALERT
from loadtest.verify.evidence import Alert, Evidence, LedgerEntry, RefusedCall, Transition
from loadtest.verify.expectation import Expectation
from loadtest.verify.metrics import measure
from loadtest.verify.verdict import Verdict
from loadtest.verify.verifier import verify

BASE_US = 1_800_000_000_000_000
OPENED_US = BASE_US + 1_000_000
HALF_OPEN_US = BASE_US + 9_000_000
CLOSED_US = BASE_US + 9_500_000
RUN = "run-1"


def outage_workload() -> Workload:
    """Return a workload of four keys with ten events each, two of them poison."""
    return Workload(Scenario.OUTAGE, events=40, keys=4, poison_every=20, seed=0)


def sequence_of(key_index: int, counter: int) -> int:
    return (counter - 1) * 4 + key_index


def entry(key_index: int, counter: int, at_us: int | None = None) -> LedgerEntry:
    """Return the ledger entry of an event; the first five of each key precede the outage."""
    if at_us is None:
        start = BASE_US if counter <= 5 else CLOSED_US
        at_us = start + counter * 1000 + key_index
    return LedgerEntry(counter, "0", sequence_of(key_index, counter), BASE_US // 1000, at_us)


def ledgers(workload: Workload) -> dict[str, list[LedgerEntry]]:
    """Return the ledgers of a faultless run."""
    return {
        key: [
            entry(index, counter)
            for counter in range(1, workload.count(index) + 1)
            if workload.fault(index, counter) is None
        ]
        for index, key in enumerate(workload.key_names)
    }


def poison_message(key: str, counter: int, fault: Fault, attempts: int) -> dict[str, Any]:
    """Return a complete poison message."""
    body = json.dumps({"run": RUN, "key": key, "counter": counter, "sent_at": 0}).encode()
    return {
        "version": 1,
        "id": f"events/$Default/0/{counter}/1800000000000",
        "key": key,
        "body": base64.b64encode(body).decode(),
        "properties": {"run": RUN, "key": key, "counter": counter, "simulate": fault.value},
        "partition": "0",
        "sequence_number": counter,
        "offset": "100",
        "enqueued_time": "2026-11-21T12:00:00+00:00",
        "error": {"type": "PoisonEventError", "message": "simulated", "traceback": ""},
        "attempts": attempts,
        "first_attempt_time": "2026-11-21T12:00:01+00:00",
        "last_attempt_time": "2026-11-21T12:00:02+00:00",
        "handler": "processing.handlers.ledger:LedgerHandler",
        "circuit_generation": 0,
        "instance": "host:1",
        "claim_check": None,
    }


def poison_messages(workload: Workload) -> list[dict[str, Any]]:
    """Return the poison messages of a faultless run."""
    return [
        poison_message(key, counter, fault, 1 if fault is Fault.POISON else 4)
        for key, counters in workload.faults.items()
        for counter, fault in counters.items()
    ]


HISTORY = (
    Transition("opened", 1, OPENED_US),
    Transition("approved", 1, HALF_OPEN_US, "loadtest"),
    Transition("half_opened", 1, HALF_OPEN_US),
    Transition("closed", 1, CLOSED_US),
)
ALERTS = (
    Alert("breakwater:1:opened", OPENED_ALERT, 1),
    Alert("breakwater:1:closed", "breakwater.circuit.closed", 1),
)


def judge(
    workload: Workload | None = None,
    *,
    found: Mapping[str, list[LedgerEntry]] | None = None,
    **changes: Any,
) -> Verdict:
    """Return the verdict on the faultless run with some evidence replaced."""
    workload = workload or outage_workload()
    found = ledgers(workload) if found is None else found
    values: dict[str, Any] = {
        "sent": {key: workload.count(i) for i, key in enumerate(workload.key_names)},
        "expectation": Expectation.of(workload, 100),
        "refused": [
            RefusedCall("key-0", 6, "0", sequence_of(0, 6), OPENED_US - 100_000),
            RefusedCall("key-0", 6, "0", sequence_of(0, 6), OPENED_US + 2_000_000),
        ],
        "poison": poison_messages(workload),
        "history": HISTORY,
        "alerts": ALERTS,
    }
    return verify(Evidence(workload=workload, ledgers=found.items(), **{**values, **changes}))


def report(**changes: Any) -> Report:
    """Return the report on the faultless run with some fields replaced."""
    workload = outage_workload()
    samples = [
        Sample(
            at_us=BASE_US + quarter * 250_000,
            handled=min(38, quarter),
            failures=100 if 4 <= quarter < 38 else 0,
            state="open" if 4 <= quarter < 36 else "closed",
            app_state="Stopped" if 6 <= quarter < 35 else "Running",
        )
        for quarter in range(48)
    ]
    values: dict[str, Any] = {
        "run": RUN,
        "scenario": "outage",
        "keys": 4,
        "instances": 1,
        "partitions": 4,
        "verdict": judge(),
        "metrics": measure(ledgers(workload).items()),
        "history": HISTORY,
        "samples": tuple(samples),
        "approvals": (Approval(1, "2026-11-21T12:00:02+00:00"),),
        "owners": {"0": "a", "1": "b"},
        "kills": 0,
        "seed": 0,
        "faults": (),
        "suppressed": 0,
        "refused": 2,
        "failure_threshold": 100,
        "window_seconds": 30.0,
        "started_us": BASE_US,
        "start_seconds": 3.0,
        "send_seconds": 1.0,
        "seconds": 12.0,
    }
    return Report(**{**values, **changes})
