"""Scenarios of the standstill rule and of failed probes, step by step, for both stores."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from breaker import BreakerSettings, CircuitStore, ManualClock
from breaker.notes import Report
from tests.contract.breaker.test_store_scenarios import (
    HALF_OPEN_1,
    Scenario,
    Step,
    acquire,
    after,
    approve,
    close,
    fail,
    follow,
    release,
    snapshot,
    succeed,
)

_reports = itertools.count()

CLOSED = "done closed 0 0"
OPENED = "done open 1 0"


def attempts(
    *keys: str, count: int = 10, generation: int = 0, running: str = "", **report: Any
) -> Step:
    """Return the report of failed attempts, with a new report id unless one is given."""
    report.setdefault("report_id", f"report {next(_reports)}")
    report.setdefault("error", "down")
    return Step(
        "report",
        {
            "report": Report(
                failed_attempts=count,
                generation=generation,
                keys=keys,
                running=tuple(running.split()),
                **report,
            )
        },
    )


def success(age: float = 0.0, longest: float = 0.0) -> Step:
    report = Report("", succeeded=True, success_age=age, longest_seconds=longest)
    return Step("report", {"report": report})


def runs(*keys: str) -> Step:
    return Step("report", {"report": Report("", running=keys)})


def steady(seconds: float = 1.0, number: int = 12, longest: float = 0.0) -> list[Step]:
    """Return successes with a steady gap, the last one now."""
    gaps = [step for _ in range(number - 1) for step in (after(seconds), success(0, longest))]
    return [success(0, longest), *gaps]


STANDSTILL = [
    Scenario(
        "attempts of two keys open after the window",
        [
            *steady(),
            attempts("a", "b") >> CLOSED,
            after(29.999999),
            runs("a") >> CLOSED,
            after(0.000001),
            runs("a") >> OPENED,
        ],
    ),
    Scenario(
        "a recorded failure judges the rule",
        [
            *steady(),
            attempts("a", "b"),
            after(28),
            runs("a"),
            after(2),
            fail("e") >> "done open 1 1",
        ],
    ),
    Scenario(
        "a report judges the rule",
        [*steady(), attempts("a", "b"), after(30), runs("a") >> OPENED],
    ),
    Scenario(
        "a poll of an instance without events judges the rule",
        [
            *steady(),
            attempts("a", "b"),
            after(28),
            runs("a"),
            after(2),
            snapshot() >> OPENED,
        ],
    ),
    Scenario(
        "silence is no standstill",
        [
            *steady(),
            attempts("a", "b", running="a b"),
            after(30),
            snapshot() >> CLOSED,
            after(3600),
            fail("e") >> "done closed 0 1",
            snapshot() >> "done closed 0 1",
            runs("a") >> "done closed 0 1",
            attempts("a", running="a") >> "done open 1 1",
        ],
    ),
    Scenario(
        "the last failed attempt is at most a window old",
        [
            *steady(),
            attempts("a", "b", count=12),
            after(30.000001),
            runs("a") >> CLOSED,
            attempts("a", count=1) >> OPENED,
        ],
    ),
    Scenario(
        "a report of running keys counts for less than three seconds",
        [
            *steady(),
            attempts("a", "b"),
            after(29),
            runs("a", "b") >> CLOSED,
            after(3),
            snapshot() >> CLOSED,
        ],
    ),
    Scenario(
        "fewer attempts than the rule's number open nothing",
        [
            *steady(),
            attempts("a", "b", count=9),
            after(3600),
            runs("a") >> CLOSED,
            attempts("a", count=1, running="a") >> OPENED,
        ],
    ),
    Scenario(
        "the attempts of several instances are added",
        [
            *steady(),
            attempts("a", count=5),
            after(10),
            attempts("b", count=5),
            after(20),
            runs("a") >> OPENED,
        ],
    ),
    Scenario(
        "a repeated report counts its attempts once",
        [
            *steady(),
            attempts("a", "b", count=5, report_id="r"),
            attempts("a", "b", count=5, report_id="r"),
            after(60),
            runs("a") >> CLOSED,
        ],
    ),
    Scenario(
        "a success begins a new count of attempts",
        [
            *steady(),
            attempts("a", "b"),
            after(29),
            success(),
            after(31),
            runs("a") >> CLOSED,
            attempts("a", "b"),
            after(29.999999),
            runs("a") >> CLOSED,
            after(0.000001),
            runs("a") >> OPENED,
        ],
    ),
    Scenario(
        "a success that is reported late does not end attempts after it",
        [
            *steady(),
            attempts("a", "b"),
            after(0.5),
            success(age=0.75),
            after(29.5),
            runs("a") >> OPENED,
        ],
    ),
    Scenario(
        "attempts that are reported late count from their own time",
        [
            *steady(),
            after(1),
            attempts("a", "b", attempts_age=0.75),
            after(29.25),
            runs("a") >> OPENED,
        ],
    ),
    Scenario(
        "one key opens if no other key runs anywhere",
        [
            *steady(),
            attempts("a", running="a"),
            after(28),
            runs("a", "b"),
            after(2),
            attempts("a", running="a") >> CLOSED,
            after(0.999999),
            runs("a") >> CLOSED,
            after(0.000001),
            runs("a") >> OPENED,
        ],
    ),
    Scenario(
        "two keys open although other keys run",
        [*steady(), attempts("a", "b"), after(30), runs("c", "d") >> OPENED],
    ),
    Scenario(
        "a partition's events without a key count as two keys",
        [*steady(), attempts("0*"), after(30), runs("0*", "1*", "a") >> OPENED],
    ),
    Scenario(
        "the quiet time is ten usual gaps",
        [
            *steady(10),
            attempts("a", "b"),
            after(99.999999),
            attempts("a", running="a") >> CLOSED,
            after(0.000001),
            runs("a") >> OPENED,
        ],
    ),
    Scenario(
        "the quiet time of rare successes is ten minutes",
        [
            *steady(250),
            attempts("a", "b"),
            after(599.999999),
            attempts("a", running="a") >> CLOSED,
            after(0.000001),
            runs("a") >> OPENED,
        ],
    ),
    Scenario(
        "successes that come in step do not hide their long calls",
        [
            *steady(0.75, longest=45),
            attempts("a", "b"),
            after(89.999999),
            attempts("a", running="a") >> CLOSED,
            after(0.000001),
            runs("a") >> OPENED,
        ],
    ),
    Scenario(
        "successes of more than an hour before the last do not count",
        [
            *steady(1, longest=600),
            after(3601),
            *steady(),
            attempts("a", "b"),
            after(30),
            runs("a") >> OPENED,
        ],
    ),
    Scenario(
        "fewer than ten gaps count beside one gap as long as the window",
        [
            *steady(number=10),
            attempts("a", "b"),
            after(38.999999),
            attempts("a", running="a") >> CLOSED,
            after(0.000001),
            runs("a") >> OPENED,
        ],
    ),
    Scenario(
        "an unknown last success is stored once as now",
        [
            runs("a"),
            after(280),
            attempts("a", "b"),
            after(20),
            runs("a") >> CLOSED,
            after(10),
            runs("a") >> OPENED,
        ],
    ),
    Scenario(
        "closing begins a new quiet time and forgets the attempts",
        [
            *steady(),
            attempts("a", "b"),
            after(30),
            runs("a") >> OPENED,
            close(1) >> "done closed 1 0",
            runs("a") >> "done closed 1 0",
            attempts("a", "b", generation=1),
            after(29.999999),
            runs("a") >> "done closed 1 0",
            after(0.000001),
            runs("a") >> "done open 2 0",
        ],
    ),
    Scenario(
        "attempts of another generation do not count",
        [
            *steady(),
            fail("x"),
            fail("y"),
            fail("z") >> "done open 1 3",
            close(1),
            attempts("a", "b", generation=0),
            after(60),
            runs("a") >> "done closed 1 0",
            attempts("a", "b", generation=1),
            attempts("c", count=1, generation=0),
            after(30),
            runs("a") >> "done open 2 0",
        ],
    ),
    Scenario(
        "attempts count in the closed circuit only",
        [
            *HALF_OPEN_1,
            attempts("a", "b", generation=1),
            after(600),
            runs("a") >> "done half_open 1 0",
            close(1),
            after(60),
            runs("a") >> "done closed 1 0",
        ],
    ),
    Scenario(
        "zero turns the rule off",
        [*steady(), attempts("a", "b"), after(600), runs("a") >> CLOSED],
        {"standstill_failures": 0},
    ),
    Scenario(
        "a clock that is set back does not stop the rule",
        [
            after(3600),
            *steady(),
            after(-3600),
            attempts("a", "b", count=5),
            *steady(),
            attempts("a", "b"),
            after(30),
            runs("a") >> OPENED,
        ],
    ),
    Scenario(
        "a clock that is set back ends the reports of running keys",
        [
            after(3600),
            runs("b"),
            after(-3600),
            *steady(),
            attempts("a", "c"),
            after(30),
            snapshot() >> CLOSED,
            success(),
            attempts("a"),
            after(60),
            attempts("a", running="a") >> OPENED,
        ],
    ),
    Scenario(
        "the reports of running keys stay ended when the clock has caught up",
        [
            after(60),
            runs("b"),
            after(-60),
            *steady(),
            attempts("a", running="a"),
            after(49),
            attempts("a", running="a") >> OPENED,
        ],
    ),
]

PROBES = [
    Scenario(
        "three failed probes of three keys open",
        [
            *HALF_OPEN_1,
            fail("d", 1, "p", "a") >> "done half_open 1 3",
            fail("e", 1, "q", "b") >> "done half_open 1 3",
            fail("f", 1, "r", "c") >> "done open 2 3",
        ],
    ),
    Scenario(
        "a repeated outcome of one probe counts once",
        [*HALF_OPEN_1, *[fail("d", 1, "p", "a") >> "done half_open 1 3"] * 5],
    ),
    Scenario(
        "failures of one key count as one while other keys succeed",
        [
            *HALF_OPEN_1,
            *(
                step
                for number in range(8)
                for step in (
                    fail("d", 1, f"p{number}", "a") >> "done half_open 1 3",
                    succeed(1, f"q{number}", key="b") >> "done half_open 1 3",
                )
            ),
        ],
        {"half_open_permits": 10},
    ),
    Scenario(
        "repeated failures of one key count if no other key succeeds between them",
        [
            *HALF_OPEN_1,
            fail("d", 1, "p", "a"),
            succeed(1, "q", key="a"),
            fail("d", 1, "r", "a") >> "done half_open 1 3",
            fail("d", 1, "s", "a") >> "done open 2 3",
        ],
    ),
    Scenario(
        "a success of another key separates two failures only once",
        [
            *HALF_OPEN_1,
            fail("d", 1, "p", "a"),
            succeed(1, "q", key="b"),
            fail("d", 1, "r", "a"),
            fail("d", 1, "s", "a") >> "done half_open 1 3",
            fail("d", 1, "t", "a") >> "done open 2 3",
        ],
    ),
    Scenario(
        "each half-open generation begins without failed probes",
        [
            *HALF_OPEN_1,
            fail("d", 1, "p", "a"),
            fail("e", 1, "q", "b"),
            fail("f", 1, "r", "c") >> "done open 2 3",
            approve(2),
            succeed(2, "s", key="z"),
            acquire("t", "a") >> "granted half_open 2 3",
            fail("d", 2, "t", "a") >> "done half_open 2 3",
            fail("e", 2, "u", "b") >> "done half_open 2 3",
            fail("f", 2, "v", "c") >> "done open 3 3",
        ],
    ),
    Scenario(
        "the lease of a failed probe is free again",
        [
            *HALF_OPEN_1,
            acquire("p", "a"),
            acquire("q", "b"),
            acquire("r", "c") >> "refused half_open 1 3",
            fail("d", 1, "p", "a"),
            acquire("r", "c") >> "granted half_open 1 3",
        ],
    ),
    Scenario(
        "the key of a failed probe gets no permit while other keys ask",
        [
            *HALF_OPEN_1,
            acquire("p", "a"),
            fail("d", 1, "p", "a"),
            acquire("q", "b") >> "granted half_open 1 3",
            release(1, "q"),
            acquire("r", "a") >> "refused half_open 1 3",
            after(2.999999),
            acquire("r", "a") >> "refused half_open 1 3",
            after(0.000001),
            acquire("r", "a") >> "granted half_open 1 3",
        ],
    ),
    Scenario(
        "a refused key asks as well",
        [
            *HALF_OPEN_1,
            acquire("p", "a"),
            fail("d", 1, "p", "a"),
            acquire("q", "b"),
            acquire("r", "c"),
            after(2),
            acquire("s", "d") >> "refused half_open 1 3",
            after(2),
            release(1, "q"),
            release(1, "r"),
            acquire("t", "a") >> "refused half_open 1 3",
            after(1),
            acquire("t", "a") >> "granted half_open 1 3",
        ],
    ),
    Scenario(
        "the key of a failed probe gets no permit while another key probes",
        [
            *HALF_OPEN_1,
            acquire("p", "a"),
            fail("d", 1, "p", "a"),
            acquire("q", "b"),
            after(30),
            acquire("r", "a") >> "refused half_open 1 0",
            after(29.999999),
            acquire("r", "a") >> "refused half_open 1 0",
            after(0.000001),
            acquire("r", "a") >> "granted half_open 1 0",
            acquire("r", "a") >> "granted half_open 1 0",
        ],
        {"permit_seconds": 60.0},
    ),
    Scenario(
        "a failed key that is alone gets a permit once others could have asked",
        [
            *HALF_OPEN_1,
            acquire("p", "a"),
            after(1),
            fail("d", 1, "p", "a"),
            after(2.999999),
            acquire("q", "a") >> "refused half_open 1 3",
            after(0.000001),
            acquire("q", "a") >> "granted half_open 1 3",
        ],
    ),
    Scenario(
        "two failed keys do not wait for each other",
        [
            *HALF_OPEN_1,
            acquire("p", "a"),
            acquire("q", "b"),
            fail("d", 1, "p", "a"),
            fail("e", 1, "q", "b"),
            after(3),
            acquire("r", "a") >> "granted half_open 1 3",
            release(1, "r"),
            acquire("s", "b") >> "granted half_open 1 3",
        ],
    ),
    Scenario(
        "a permit without a key counts as a key of its own",
        [
            *HALF_OPEN_1,
            acquire("p"),
            fail("d", 1, "p"),
            fail("e", 1, "q"),
            acquire("r") >> "granted half_open 1 3",
            fail("f", 1, "r") >> "done open 2 3",
        ],
    ),
]


@pytest.mark.parametrize("scenario", [*STANDSTILL, *PROBES], ids=lambda scenario: scenario.name)
async def test_store_follows_the_rules(
    scenario: Scenario, store: CircuitStore, clock: ManualClock
) -> None:
    """Each step has the result that the table expects."""
    await follow(scenario, store, clock)


async def test_reason_names_the_standstill_rule(store: CircuitStore, clock: ManualClock) -> None:
    """An operator reads how long nothing has succeeded, and how much has failed."""
    rules = BreakerSettings(name="c").rules("here:1")

    async def report(step: Step) -> None:
        await store.report(rules, **step.arguments)

    for step in steady():
        if step.operation == "after":
            clock.advance(step.arguments["seconds"])
        else:
            await report(step)
    await report(attempts("a", "b", count=11))
    clock.advance(42.5)
    await report(attempts("b", "c", count=12, error="TimeoutError: bank", running="b"))
    circuit = (await store.snapshot(rules)).circuit
    assert circuit.reason == (
        "no event has succeeded for 42 s; 23 attempts of 3 keys failed; "
        "last error: TimeoutError: bank"
    )
    [opened] = (await store.claim_alerts(rules, "t", 30, 10)).alerts
    assert opened.data["reason"] == circuit.reason


async def test_memory_of_attempts_is_bounded(store: CircuitStore, clock: ManualClock) -> None:
    """The reason counts at least ten keys, however many keys have failed."""
    rules = BreakerSettings(name="c").rules("here:1")
    for number in range(30):
        await store.report(rules, **attempts(f"k{number}").arguments)
    clock.advance(300)
    last = attempts("k0", running="k0").arguments
    reason = (await store.report(rules, **last)).circuit.reason
    assert "310 attempts of at least 10 keys failed" in reason


async def test_snapshot_shows_attempts_success_and_probes(
    store: CircuitStore, clock: ManualClock
) -> None:
    """Console and command line show how far a standstill or an approval has come."""
    rules = BreakerSettings(name="c", failure_threshold=1).rules("here:1")
    await store.report(rules, **success(age=0.5).arguments)
    change = await store.report(rules, **attempts("a", count=3).arguments)
    now = clock.monotonic()
    assert change.circuit.failed_attempts == 3
    assert change.circuit.last_success_at == now - 0.5
    for step in (fail("d"), approve(1), fail("e", 1, "p", "a")):
        if step.operation == "fail":
            change = await store.record_failure(rules, error="boom", **step.arguments)
        else:
            change = await store.approve(rules, **step.arguments)
    assert (change.circuit.failed_attempts, change.circuit.probe_failures) == (0, 1)
    change = await store.report(rules, **attempts("a", generation=1).arguments)
    assert change.circuit.failed_attempts == 0, "a probe's outcome counts instead"
    clock.advance(1)
    change = await store.close(rules, 1, "ann", "fine")
    assert (change.circuit.last_success_at, change.circuit.probe_failures) == (now + 1, 0)
