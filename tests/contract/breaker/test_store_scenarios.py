"""One scenario table, two stores: what a circuit does step by step, by an injected clock."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from breaker import BreakerSettings, CircuitStore, ManualClock, MemoryCircuitStore, Permit
from breaker import RedisCircuitStore as RedisStore
from breaker.state import Circuit, CircuitState, Rules
from breaker.stores.base import Admission
from tests.support.patience import STORE_SECONDS

_reports = itertools.count()

AUTOMATIC = {"recovery": "automatic", "break_seconds": 10.0, "break_seconds_max": 25.0}


@dataclass(frozen=True)
class Step:
    """One operation and what must be true after it: "outcome state generation failures"."""

    operation: str
    arguments: dict[str, Any] = field(default_factory=dict)
    expected: str = ""

    def __rshift__(self, expected: str) -> Step:
        return Step(self.operation, self.arguments, expected)


def fail(failure_id: str, generation: int = 0, probe: str | None = None) -> Step:
    return Step("fail", {"failure_id": failure_id, "permit": Permit(generation, probe)})


def succeed(
    generation: int, probe: str | None = None, count: int = 1, report: str | None = None
) -> Step:
    """Each is a report of its own unless it is named."""
    report_id = report or f"report {next(_reports)}"
    arguments = {"report_id": report_id, "count": count, "permit": Permit(generation, probe)}
    return Step("succeed", arguments)


def acquire(probe: str) -> Step:
    return Step("acquire", {"probe_id": probe})


def release(generation: int, probe: str) -> Step:
    return Step("release", {"permit": Permit(generation, probe)})


def approve(generation: int) -> Step:
    return Step("approve", {"generation": generation, "by": "ann"})


def close(generation: int) -> Step:
    return Step("close", {"generation": generation, "by": "ann", "reason": "mended"})


def isolate() -> Step:
    return Step("isolate", {"by": "ann", "reason": "maintenance"})


def restore(state: str, generation: int) -> Step:
    known = Circuit("c", CircuitState(state), generation, opened_at=1.5, changed_at=2.5, by="bob")
    return Step("restore", {"known": known})


def look() -> Step:
    return Step("look")


def after(seconds: float) -> Step:
    return Step("after", {"seconds": seconds})


@dataclass(frozen=True)
class Scenario:
    what: str
    steps: list[Step]
    settings: dict[str, Any] = field(default_factory=dict)


OPEN_1 = [fail("a"), fail("b"), fail("c") >> "done open 1 3"]
HALF_OPEN_1 = [*OPEN_1, approve(1) >> "done half_open 1 3"]

SCENARIOS = [
    Scenario(
        "a circuit nobody touched is closed in generation 0",
        [look() >> "done closed 0 0", acquire("p") >> "granted closed 0 0"],
    ),
    Scenario(
        "the threshold-th failure opens, not one earlier",
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
        "the same failure twice counts once",
        [
            fail("a") >> "done closed 0 1",
            fail("a") >> "done closed 0 1",
            fail("b"),
            fail("b"),
            look() >> "done closed 0 2",
        ],
    ),
    Scenario(
        "a repeat does not keep a failure in the window",
        [
            fail("a"),
            after(20),
            fail("a") >> "done closed 0 1",
            after(10),
            look() >> "done closed 0 0",
        ],
    ),
    Scenario(
        "a failure that repeats after it has left the window counts again",
        [fail("a"), after(30), fail("a") >> "done closed 0 1"],
    ),
    Scenario(
        "a failure leaves the window when it is exactly as old as the window is long",
        [
            fail("a"),
            after(29.999999),
            look() >> "done closed 0 1",
            after(0.000001),
            look() >> "done closed 0 0",
        ],
    ),
    Scenario(
        "failures that never share a window never open",
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
        "the window slides: the last failures decide",
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
        "a clock that steps back loses no failure",
        [
            after(3600),
            fail("a"),
            after(-3600),
            fail("b") >> "done closed 0 2",
            fail("c") >> "done open 1 3",
        ],
    ),
    Scenario(
        "open: nothing starts, failures still under way change nothing",
        [
            *OPEN_1,
            acquire("p") >> "refused open 1 3",
            fail("d") >> "ignored open 1 3",
            fail("e", generation=1) >> "ignored open 1 3",
            succeed(0) >> "ignored open 1 3",
            succeed(1, "p") >> "ignored open 1 3",
            after(31),
            look() >> "done open 1 0",
        ],
    ),
    Scenario(
        "manual recovery: no time is long enough",
        [*OPEN_1, after(1_000_000), look() >> "done open 1 0", acquire("p") >> "refused open 1 0"],
    ),
    Scenario(
        "approving moves to half-open, once, and repeating it is harmless",
        [*HALF_OPEN_1, approve(1) >> "already half_open 1 3"],
    ),
    Scenario(
        "approving another generation changes nothing",
        [
            approve(1) >> "stale closed 0 0",
            approve(0) >> "stale closed 0 0",
            *OPEN_1,
            approve(0) >> "stale open 1 3",
            approve(2) >> "stale open 1 3",
            approve(1) >> "done half_open 1 3",
            acquire("p"),
            fail("d", 1, "p") >> "done open 2 3",
            approve(1) >> "stale open 2 3",
        ],
    ),
    Scenario(
        "half-open gives exactly the permits there are",
        [
            *HALF_OPEN_1,
            acquire("p") >> "granted half_open 1 3",
            acquire("q") >> "granted half_open 1 3",
            acquire("r") >> "refused half_open 1 3",
        ],
    ),
    Scenario(
        "asking again with the same probe id takes no second permit",
        [
            *HALF_OPEN_1,
            acquire("p") >> "granted half_open 1 3",
            acquire("p"),
            acquire("q"),
            look() >> "done half_open 1 3",
            acquire("q") >> "granted half_open 1 3",
            acquire("r") >> "refused half_open 1 3",
        ],
    ),
    Scenario(
        "a permit that was given back can be taken again, and counted neither way",
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
        "giving back a permit of another generation changes nothing",
        [
            *HALF_OPEN_1,
            acquire("p"),
            acquire("q"),
            release(0, "p"),
            acquire("r") >> "refused half_open 1 3",
        ],
    ),
    Scenario(
        "a crashed prober's permit comes back when its lease is over",
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
        "enough successful probes close and empty the window",
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
        "one probe that succeeds twice counts once",
        [*HALF_OPEN_1, acquire("p"), succeed(1, "p"), succeed(1, "p") >> "done half_open 1 3"],
    ),
    Scenario(
        "a success that comes after its lease still counts",
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
        "one failed probe opens the next generation",
        [
            *HALF_OPEN_1,
            acquire("p"),
            acquire("q"),
            succeed(1, "p"),
            fail("d", 1, "q") >> "done open 2 3",
            succeed(1, "p") >> "ignored open 2 3",
            fail("e", 1, "p") >> "ignored open 2 3",
        ],
    ),
    Scenario(
        "the next half-open starts counting probes anew",
        [
            *HALF_OPEN_1,
            acquire("p"),
            succeed(1, "p"),
            acquire("q"),
            fail("d", 1, "q"),
            approve(2) >> "done half_open 2 3",
            acquire("r") >> "granted half_open 2 3",
            succeed(2, "r") >> "done half_open 2 3",
            acquire("s") >> "granted half_open 2 3",
            succeed(2, "s") >> "done closed 2 0",
        ],
    ),
    Scenario(
        "half-open: outcomes without a probe's permit or of an older generation mean nothing",
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
        "closed again: what was started before the opening no longer counts",
        [
            *OPEN_1,
            close(1) >> "done closed 1 0",
            fail("d", 0) >> "ignored closed 1 0",
            fail("e", 1) >> "done closed 1 1",
        ],
    ),
    Scenario(
        "a slow probe that fails after the circuit has closed counts as any failure",
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
        "closing by hand works from open and half-open, for the current generation only",
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
        "isolated: only closing by hand ends it",
        [
            isolate() >> "done isolated 1 0",
            isolate() >> "already isolated 1 0",
            acquire("p") >> "refused isolated 1 0",
            fail("a", 1) >> "ignored isolated 1 0",
            approve(1) >> "isolated isolated 1 0",
            after(1_000_000),
            look() >> "done isolated 1 0",
            close(1) >> "done closed 1 0",
        ],
        AUTOMATIC,
    ),
    Scenario(
        "isolating an open circuit makes the pending approval stale",
        [*OPEN_1, isolate() >> "done isolated 2 3", approve(1) >> "stale isolated 2 3"],
    ),
    Scenario(
        "automatic recovery: half-open when the break is over, not before",
        [
            *OPEN_1,
            after(9.999999),
            look() >> "done open 1 3",
            acquire("p") >> "refused open 1 3",
            after(0.000001),
            acquire("p") >> "granted half_open 1 3",
            fail("d", 1, "p") >> "done open 2 3",
        ],
        AUTOMATIC,
    ),
    Scenario(
        "automatic recovery: the break doubles up to its maximum, and starts short again",
        [
            *OPEN_1,
            after(10),
            acquire("p"),
            fail("d", 1, "p") >> "done open 2 3",
            after(19.999999),
            look() >> "done open 2 3",
            after(0.000001),
            acquire("p") >> "granted half_open 2 1",
            fail("e", 2, "p") >> "done open 3 2",
            after(24.999999),
            look() >> "done open 3 1",
            after(0.000001),
            acquire("p") >> "granted half_open 3 1",
            succeed(3, "p"),
            acquire("q"),
            succeed(3, "q") >> "done closed 3 0",
            fail("f", 3),
            fail("g", 3),
            fail("h", 3) >> "done open 4 3",
            after(10),
            look() >> "done half_open 4 3",
        ],
        AUTOMATIC,
    ),
    Scenario(
        "an operator need not wait for the break",
        [*OPEN_1, approve(1) >> "done half_open 1 3"],
        AUTOMATIC,
    ),
    Scenario(
        "the window never holds more failures than the threshold",
        [
            *OPEN_1,
            after(1),
            acquire("p"),
            fail("d", 1, "p") >> "done open 2 3",
            after(2),
            acquire("p"),
            fail("e", 2, "p") >> "done open 3 3",
        ],
        {"recovery": "automatic", "break_seconds": 1.0, "window_seconds": 1000.0},
    ),
    Scenario(
        "ratio rule: needs its throughput, then opens at its share",
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
        "ratio rule: below the minimum throughput nothing opens",
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
        "ratio rule: successes leave the window in buckets",
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
        "ratio rule: the same report of successes twice counts once",
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
        "ratio rule: each report counts, however many come at the same moment",
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
        "ratio rule: a report that repeats after the window counts again",
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
        "ratio rule: a clock that steps back finds the successes of then again",
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
        "without a ratio rule successes are not even counted",
        [succeed(0, count=5) >> "ignored closed 0 0"],
    ),
    Scenario(
        "the count rule stays in force beside the ratio rule",
        [succeed(0, count=1000), fail("a"), fail("b"), fail("c") >> "done open 1 3"],
        {"failure_ratio": 0.9, "minimum_throughput": 5},
    ),
    Scenario(
        "a store that lost its data takes back the later state, and never an earlier one",
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
        "taking back a closing that was lost empties the window, as the closing did",
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


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "redis"])
async def store(
    request: pytest.FixtureRequest, clock: ManualClock, redis_url: str
) -> AsyncIterator[CircuitStore]:
    tested: CircuitStore
    if request.param == "memory":
        tested = MemoryCircuitStore("c", now_us=clock.now_us)
    else:
        tested = RedisStore(redis_url, "c", timeout_seconds=STORE_SECONDS, now_us=clock.now_us)
    yield tested
    await tested.aclose()


async def take(store: CircuitStore, rules: Rules, step: Step) -> str:
    """Do a step; what came of it, in the words of the table."""
    arguments = step.arguments
    match step.operation:
        case "fail":
            change = await store.record_failure(rules, error="boom", **arguments)
        case "succeed":
            change = await store.record_successes(rules, **arguments)
        case "acquire":
            admission: Admission = await store.acquire(rules, **arguments)
            circuit = admission.change.circuit
            word = "granted" if admission.granted else "refused"
            return f"{word} {circuit.state} {circuit.generation} {circuit.failures}"
        case "look":
            change = await store.snapshot(rules)
        case operation:
            change = await getattr(store, operation)(rules, **arguments)
    circuit = change.circuit
    return f"{change.outcome} {circuit.state} {circuit.generation} {circuit.failures}"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.what)
async def test_scenario(scenario: Scenario, store: CircuitStore, clock: ManualClock) -> None:
    """Both stores answer every step as the table says."""
    settings = {"failure_threshold": 3, "half_open_permits": 2, **scenario.settings}
    rules = BreakerSettings(name="c", **settings).rules("here:1")
    for number, step in enumerate(scenario.steps, 1):
        if step.operation == "after":
            clock.advance(step.arguments["seconds"])
            continue
        came = await take(store, rules, step)
        assert not step.expected or came == step.expected, f"step {number}: {step}"
