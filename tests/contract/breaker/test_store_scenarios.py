"""A table of scenarios, step by step, for both stores, with an injected clock."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest

from breaker import BreakerSettings, CircuitStore, ManualClock, Permit
from breaker.state import Circuit, CircuitState, Rules
from breaker.stores.base import Admission

_reports = itertools.count()

AUTOMATIC = {"recovery": "automatic", "break_seconds": 10.0, "break_seconds_max": 25.0}


@dataclass(frozen=True)
class Step:
    """An operation and its expected result: "outcome state generation failures"."""

    operation: str
    arguments: dict[str, Any] = field(default_factory=dict)
    expected: str = ""

    def __rshift__(self, expected: str) -> Step:
        return Step(self.operation, self.arguments, expected)


def fail(failure_id: str, generation: int = 0, probe: str | None = None, key: str = "") -> Step:
    return Step("fail", {"failure_id": failure_id, "permit": Permit(generation, probe, key)})


def fail_probes(generation: int) -> list[Step]:
    """Return the failures of three probes, each of its own key."""
    return [fail(f"{generation} {probe}", generation, probe) for probe in ("x", "y", "z")]


def succeed(
    generation: int,
    probe: str | None = None,
    count: int = 1,
    report: str | None = None,
    key: str = "",
) -> Step:
    """Return a step with a new report id, unless `report` names one."""
    report_id = report or f"report {next(_reports)}"
    arguments = {"report_id": report_id, "count": count, "permit": Permit(generation, probe, key)}
    return Step("succeed", arguments)


def acquire(probe: str, key: str = "") -> Step:
    return Step("acquire", {"probe_id": probe, "key": key})


def release(generation: int, probe: str) -> Step:
    return Step("release", {"permit": Permit(generation, probe)})


def approve(generation: int) -> Step:
    return Step("approve", {"generation": generation, "by": "ann"})


def close(generation: int) -> Step:
    return Step("close", {"generation": generation, "by": "ann", "reason": "repaired"})


def isolate() -> Step:
    return Step("isolate", {"by": "ann", "reason": "maintenance"})


def restore(state: str, generation: int) -> Step:
    known = Circuit("c", CircuitState(state), generation, opened_at=1.5, changed_at=2.5, by="bob")
    return Step("restore", {"known": known})


def snapshot() -> Step:
    return Step("snapshot")


def after(seconds: float) -> Step:
    return Step("after", {"seconds": seconds})


@dataclass(frozen=True)
class Scenario:
    name: str
    steps: list[Step]
    settings: dict[str, Any] = field(default_factory=dict)


OPEN_1 = [fail("a"), fail("b"), fail("c") >> "done open 1 3"]
HALF_OPEN_1 = [*OPEN_1, approve(1) >> "done half_open 1 3"]

SCENARIOS = [
    Scenario(
        "a new circuit is closed in generation 0",
        [snapshot() >> "done closed 0 0", acquire("p") >> "granted closed 0 0"],
    ),
    Scenario(
        "the circuit opens at exactly the failure threshold",
        [
            fail("a") >> "done closed 0 1",
            fail("b") >> "done closed 0 2",
            fail("c") >> "done open 1 3",
        ],
    ),
    Scenario(
        "a threshold of one opens at the first failure",
        [fail("a") >> "done open 1 1"],
        {"failure_threshold": 1},
    ),
    Scenario(
        "a repeated failure counts once",
        [
            fail("a") >> "done closed 0 1",
            fail("a") >> "done closed 0 1",
            fail("b"),
            fail("b"),
            snapshot() >> "done closed 0 2",
        ],
    ),
    Scenario(
        "a repeated failure counts at its latest time",
        [
            fail("a"),
            after(20),
            fail("a") >> "done closed 0 1",
            after(29.999999),
            snapshot() >> "done closed 0 1",
            after(0.000001),
            snapshot() >> "done closed 0 0",
        ],
    ),
    Scenario(
        "one event that fails again and again never opens",
        [step for number in range(50) for step in (fail("a") >> "done closed 0 1", after(number))],
    ),
    Scenario(
        "a failure expires at exactly the window's length",
        [
            fail("a"),
            after(29.999999),
            snapshot() >> "done closed 0 1",
            after(0.000001),
            snapshot() >> "done closed 0 0",
        ],
    ),
    Scenario(
        "failures in different windows do not open",
        [
            fail("a"),
            after(15),
            fail("b"),
            after(15),
            fail("c") >> "done closed 0 2",
            after(15),
            fail("d") >> "done closed 0 2",
        ],
    ),
    Scenario(
        "only failures inside the rolling window count",
        [
            fail("a"),
            after(20),
            fail("b"),
            after(11),
            fail("c") >> "done closed 0 2",
            fail("d") >> "done open 1 3",
        ],
    ),
    Scenario(
        "a clock that is set back loses no failure",
        [
            after(3600),
            fail("a"),
            after(-3600),
            fail("b") >> "done closed 0 2",
            fail("c") >> "done open 1 3",
        ],
    ),
    Scenario(
        "open circuit refuses starts and ignores late outcomes",
        [
            *OPEN_1,
            acquire("p") >> "refused open 1 3",
            fail("d") >> "ignored open 1 3",
            fail("e", generation=1) >> "ignored open 1 3",
            succeed(0) >> "ignored open 1 3",
            succeed(1, "p") >> "ignored open 1 3",
            after(31),
            snapshot() >> "done open 1 0",
        ],
    ),
    Scenario(
        "with manual recovery no time ends the break",
        [
            *OPEN_1,
            after(1_000_000),
            snapshot() >> "done open 1 0",
            acquire("p") >> "refused open 1 0",
        ],
    ),
    Scenario(
        "approval sets half-open and a repeat is harmless",
        [*HALF_OPEN_1, approve(1) >> "already half_open 1 3"],
    ),
    Scenario(
        "approval of another generation changes nothing",
        [
            approve(1) >> "stale closed 0 0",
            approve(0) >> "stale closed 0 0",
            *OPEN_1,
            approve(0) >> "stale open 1 3",
            approve(2) >> "stale open 1 3",
            approve(1) >> "done half_open 1 3",
            *fail_probes(1),
            approve(1) >> "stale open 2 3",
        ],
    ),
    Scenario(
        "half-open circuit grants exactly its permits",
        [
            *HALF_OPEN_1,
            acquire("p") >> "granted half_open 1 3",
            acquire("q") >> "granted half_open 1 3",
            acquire("r") >> "refused half_open 1 3",
        ],
    ),
    Scenario(
        "a repeated probe id acquires no second permit",
        [
            *HALF_OPEN_1,
            acquire("p") >> "granted half_open 1 3",
            acquire("p"),
            acquire("q"),
            snapshot() >> "done half_open 1 3",
            acquire("q") >> "granted half_open 1 3",
            acquire("r") >> "refused half_open 1 3",
        ],
    ),
    Scenario(
        "a released permit is free again and has no outcome",
        [
            *HALF_OPEN_1,
            acquire("p"),
            acquire("q"),
            release(1, "p") >> "done half_open 1 3",
            acquire("r") >> "granted half_open 1 3",
            acquire("s") >> "refused half_open 1 3",
        ],
    ),
    Scenario(
        "release of another generation's permit changes nothing",
        [
            *HALF_OPEN_1,
            acquire("p"),
            acquire("q"),
            release(0, "p"),
            acquire("r") >> "refused half_open 1 3",
        ],
    ),
    Scenario(
        "the permit of a crashed prober expires with its lease",
        [
            *HALF_OPEN_1,
            acquire("p"),
            acquire("q"),
            after(59.999999),
            acquire("r") >> "refused half_open 1 0",
            after(0.000001),
            acquire("r") >> "granted half_open 1 0",
            acquire("s") >> "granted half_open 1 0",
            acquire("t") >> "refused half_open 1 0",
        ],
        {"permit_seconds": 60.0},
    ),
    Scenario(
        "enough successful probes close the circuit and empty the window",
        [
            *HALF_OPEN_1,
            acquire("p"),
            acquire("q"),
            succeed(1, "p") >> "done half_open 1 3",
            acquire("r") >> "refused half_open 1 3",
            succeed(1, "q") >> "done closed 1 0",
            fail("d", 1) >> "done closed 1 1",
            fail("e", 1) >> "done closed 1 2",
            fail("f", 1) >> "done open 2 3",
        ],
    ),
    Scenario(
        "a repeated success of one probe counts once",
        [*HALF_OPEN_1, acquire("p"), succeed(1, "p"), succeed(1, "p") >> "done half_open 1 3"],
    ),
    Scenario(
        "a success after the end of its lease counts",
        [
            *HALF_OPEN_1,
            acquire("p"),
            after(200),
            succeed(1, "p") >> "done half_open 1 0",
            acquire("q"),
            succeed(1, "q") >> "done closed 1 0",
        ],
    ),
    Scenario(
        "the third failed probe opens the next generation",
        [
            *HALF_OPEN_1,
            acquire("p"),
            acquire("q"),
            succeed(1, "p"),
            fail("d", 1, "q") >> "done half_open 1 3",
            fail("e", 1, "r") >> "done half_open 1 3",
            fail("f", 1, "s") >> "done open 2 3",
            succeed(1, "p") >> "ignored open 2 3",
            fail("g", 1, "p") >> "ignored open 2 3",
        ],
    ),
    Scenario(
        "each half-open generation counts its own probes",
        [
            *HALF_OPEN_1,
            acquire("p"),
            succeed(1, "p"),
            *fail_probes(1),
            approve(2) >> "done half_open 2 3",
            fail("d", 2, "p"),
            fail("e", 2, "q") >> "done half_open 2 3",
            acquire("r") >> "granted half_open 2 3",
            succeed(2, "r") >> "done half_open 2 3",
            acquire("s") >> "granted half_open 2 3",
            succeed(2, "s") >> "done closed 2 0",
        ],
    ),
    Scenario(
        "half-open circuit ignores outcomes without a current probe's permit",
        [
            *HALF_OPEN_1,
            fail("d", 1) >> "ignored half_open 1 3",
            fail("e", 0) >> "ignored half_open 1 3",
            fail("f", 0, "p") >> "ignored half_open 1 3",
            succeed(1) >> "ignored half_open 1 3",
            succeed(0, "p") >> "ignored half_open 1 3",
        ],
    ),
    Scenario(
        "closed circuit ignores outcomes from before the opening",
        [
            *OPEN_1,
            close(1) >> "done closed 1 0",
            fail("d", 0) >> "ignored closed 1 0",
            fail("e", 1) >> "done closed 1 1",
        ],
    ),
    Scenario(
        "failure of a slow probe after the closing counts as a failure",
        [
            *HALF_OPEN_1,
            acquire("p"),
            acquire("q"),
            after(200),
            acquire("r"),
            succeed(1, "q"),
            succeed(1, "r") >> "done closed 1 0",
            fail("d", 1, "p") >> "done closed 1 1",
        ],
    ),
    Scenario(
        "closing by hand changes only the current generation",
        [
            close(1) >> "stale closed 0 0",
            close(0) >> "already closed 0 0",
            *OPEN_1,
            close(0) >> "stale open 1 3",
            close(2) >> "stale open 1 3",
            close(1) >> "done closed 1 0",
            close(1) >> "already closed 1 0",
            approve(1) >> "already closed 1 0",
        ],
    ),
    Scenario(
        "only closing by hand ends an isolation",
        [
            isolate() >> "done isolated 1 0",
            isolate() >> "already isolated 1 0",
            acquire("p") >> "refused isolated 1 0",
            fail("a", 1) >> "ignored isolated 1 0",
            approve(1) >> "isolated isolated 1 0",
            after(1_000_000),
            snapshot() >> "done isolated 1 0",
            close(1) >> "done closed 1 0",
        ],
        AUTOMATIC,
    ),
    Scenario(
        "isolation of an open circuit makes its approval stale",
        [*OPEN_1, isolate() >> "done isolated 2 3", approve(1) >> "stale isolated 2 3"],
    ),
    Scenario(
        "automatic recovery sets half-open at exactly the end of the break",
        [
            *OPEN_1,
            after(9.999999),
            snapshot() >> "done open 1 3",
            acquire("p") >> "refused open 1 3",
            after(0.000001),
            acquire("p") >> "granted half_open 1 3",
        ],
        AUTOMATIC,
    ),
    Scenario(
        "automatic recovery doubles the break up to its maximum and resets it after closing",
        [
            *OPEN_1,
            after(10),
            *fail_probes(1),
            after(19.999999),
            snapshot() >> "done open 2 3",
            after(0.000001),
            acquire("p") >> "granted half_open 2 3",
            *fail_probes(2),
            after(24.999999),
            snapshot() >> "done open 3 3",
            after(0.000001),
            acquire("p") >> "granted half_open 3 3",
            succeed(3, "p"),
            acquire("q"),
            succeed(3, "q") >> "done closed 3 0",
            fail("f", 3),
            fail("g", 3),
            fail("h", 3) >> "done open 4 3",
            after(10),
            snapshot() >> "done half_open 4 3",
        ],
        AUTOMATIC,
    ),
    Scenario(
        "approval ends the break early",
        [*OPEN_1, approve(1) >> "done half_open 1 3"],
        AUTOMATIC,
    ),
    Scenario(
        "the window never holds more failures than the threshold",
        [
            *OPEN_1,
            after(1),
            *fail_probes(1),
            after(2),
            fail("d", 2, "p") >> "done half_open 2 3",
            snapshot() >> "done half_open 2 3",
        ],
        {"recovery": "automatic", "break_seconds": 1.0, "window_seconds": 1000.0},
    ),
    Scenario(
        "ratio rule opens at its ratio once the window has the minimum throughput",
        [
            succeed(0, count=6) >> "done closed 0 0",
            fail("a") >> "done closed 0 1",
            fail("b") >> "done closed 0 2",
            fail("c") >> "done closed 0 3",
            fail("d") >> "done open 1 4",
        ],
        {"failure_threshold": 100, "failure_ratio": 0.4, "minimum_throughput": 10},
    ),
    Scenario(
        "ratio rule does not open below the minimum throughput",
        [
            fail("a"),
            fail("b"),
            fail("c") >> "done closed 0 3",
            succeed(0, count=1),
            fail("d") >> "done open 1 4",
        ],
        {"failure_threshold": 100, "failure_ratio": 0.5, "minimum_throughput": 5},
    ),
    Scenario(
        "ratio rule removes expired successes in buckets",
        [
            succeed(0, count=97),
            fail("a"),
            after(15),
            succeed(0, count=2),
            fail("b") >> "done closed 0 2",
            after(15),
            fail("c") >> "done closed 0 2",
            fail("d") >> "done open 1 3",
        ],
        {"failure_threshold": 100, "failure_ratio": 0.6, "minimum_throughput": 5},
    ),
    Scenario(
        "ratio rule counts a repeated report once",
        [
            succeed(0, count=2, report="r") >> "done closed 0 0",
            succeed(0, count=2, report="r") >> "done closed 0 0",
            after(20),
            succeed(0, count=2, report="r") >> "done closed 0 0",
            fail("a") >> "done closed 0 1",
            fail("b") >> "done open 1 2",
        ],
        {"failure_threshold": 100, "failure_ratio": 0.5, "minimum_throughput": 4},
    ),
    Scenario(
        "ratio rule counts each report of one moment",
        [
            succeed(0, count=2, report="r"),
            succeed(0, count=2, report="s"),
            fail("a"),
            fail("b") >> "done closed 0 2",
            fail("c") >> "done closed 0 3",
            fail("d") >> "done open 1 4",
        ],
        {"failure_threshold": 100, "failure_ratio": 0.5, "minimum_throughput": 4},
    ),
    Scenario(
        "ratio rule counts a repeat of an expired report again",
        [
            succeed(0, count=2, report="r"),
            after(30),
            succeed(0, count=2, report="r"),
            fail("a"),
            fail("b") >> "done open 1 2",
        ],
        {"failure_threshold": 100, "failure_ratio": 0.5, "minimum_throughput": 4},
    ),
    Scenario(
        "ratio rule keeps successes for a clock that is set back",
        [
            succeed(0, count=10),
            after(40),
            succeed(0, count=1),
            after(-40),
            fail("a"),
            fail("b"),
            fail("c") >> "done closed 0 3",
        ],
        {"failure_threshold": 100, "failure_ratio": 0.5, "minimum_throughput": 4},
    ),
    Scenario(
        "without a ratio rule successes are not counted",
        [succeed(0, count=5) >> "ignored closed 0 0"],
    ),
    Scenario(
        "the count rule also applies with a ratio rule",
        [succeed(0, count=1000), fail("a"), fail("b"), fail("c") >> "done open 1 3"],
        {"failure_ratio": 0.9, "minimum_throughput": 5},
    ),
    Scenario(
        "restoring accepts only a later state",
        [
            restore("open", 3) >> "done open 3 0",
            restore("open", 3) >> "ignored open 3 0",
            restore("isolated", 3) >> "ignored open 3 0",
            restore("closed", 2) >> "ignored open 3 0",
            restore("half_open", 3) >> "done half_open 3 0",
            restore("open", 3) >> "ignored half_open 3 0",
            restore("closed", 3) >> "done closed 3 0",
            restore("half_open", 3) >> "ignored closed 3 0",
            restore("isolated", 4) >> "done isolated 4 0",
        ],
    ),
    Scenario(
        "restoring a lost closing empties the window",
        [
            fail("a"),
            fail("b"),
            fail("c") >> "done open 1 3",
            restore("closed", 1) >> "done closed 1 0",
            fail("d", 1) >> "done closed 1 1",
            fail("e", 1) >> "done closed 1 2",
            restore("closed", 2) >> "done closed 2 2",
        ],
    ),
]


async def take(store: CircuitStore, rules: Rules, step: Step) -> str:
    """Run a step and return its result in the table's notation."""
    arguments = step.arguments
    match step.operation:
        case "fail":
            change = await store.record_failure(rules, error="boom", **arguments)
        case "succeed":
            change = await store.record_successes(rules, **arguments)
        case "acquire":
            admission: Admission = await store.acquire(rules, **arguments)
            circuit = admission.change.circuit
            outcome = "granted" if admission.granted else "refused"
            return f"{outcome} {circuit.state} {circuit.generation} {circuit.failures}"
        case operation:
            change = await getattr(store, operation)(rules, **arguments)
    circuit = change.circuit
    return f"{change.outcome} {circuit.state} {circuit.generation} {circuit.failures}"


async def follow(scenario: Scenario, store: CircuitStore, clock: ManualClock) -> None:
    """Run a scenario and compare each result with the table."""
    settings = {"failure_threshold": 3, "half_open_permits": 2, **scenario.settings}
    rules = BreakerSettings(name="c", **settings).rules("here:1")
    for number, step in enumerate(scenario.steps, 1):
        if step.operation == "after":
            clock.advance(step.arguments["seconds"])
            continue
        result = await take(store, rules, step)
        assert not step.expected or result == step.expected, f"step {number}: {step}"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_store_follows_scenario(
    scenario: Scenario, store: CircuitStore, clock: ManualClock
) -> None:
    """Each step has the result that the table expects."""
    await follow(scenario, store, clock)
