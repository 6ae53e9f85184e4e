"""The model of deferring: random faults lose no event, and no event overtakes another one.

Each run is drawn from its seed: `run_model(plan_for(seed))` repeats it. A broken part must make the
model find a broken promise; otherwise the model proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.model import mutants
from tests.model.plan import FaultKind, Plan, plan_for
from tests.model.runs import run_model

SHORT = 40
LONG = 3000
PART = 250
MOST_SEEDS = 400
"""Number of runs within which the model must find a broken promise."""


def broken_promises(seeds: range, plan: Callable[[int], Plan] = plan_for) -> dict[int, list[str]]:
    """Return what the runs of these seeds found, without the runs that found nothing."""
    found = {seed: run_model(plan(seed)) for seed in seeds}
    return {seed: faults[:3] for seed, faults in found.items() if faults}


def test_random_faults_break_no_promise() -> None:
    assert broken_promises(range(SHORT)) == {}


def test_without_faults_no_event_is_handled_twice() -> None:
    """Outages of the downstream and poison events are no reason for a duplicate."""
    found = broken_promises(range(10), lambda seed: plan_for(seed, only=frozenset()))
    assert found == {}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(0, LONG, PART))
def test_3000_runs_break_no_promise(first: int) -> None:
    assert broken_promises(range(first, first + PART)) == {}


@dataclass(frozen=True)
class Mutant:
    """A broken part, and the plans that show what it breaks."""

    name: str
    parts: dict[str, Any]
    options: dict[str, Any]

    def __str__(self) -> str:
        return self.name


def faulty(*kinds: FaultKind, **options: Any) -> dict[str, Any]:
    """Return the options of plans with many faults of some kinds."""
    return {"only": frozenset(kinds), "most": True, "horizon": 60.0} | options


MUTANTS = [
    Mutant("no WAIT", {"replicas": 0}, faulty(FaultKind.FAILOVER)),
    Mutant("no token", {"marking": mutants.UncheckedMarks}, faulty(FaultKind.EMPTY, most=False)),
    Mutant(
        "no claim check",
        {"parking": mutants.UnclaimedStore},
        faulty(FaultKind.FREEZE, FaultKind.REBALANCE),
    ),
    Mutant("release in two steps", {"parking": mutants.TwoStepStore}, faulty()),
    Mutant("no lease", {"parking": mutants.UnleasedStore}, faulty(FaultKind.REDRIVE)),
    Mutant(
        "no end of replays at a rewind",
        {"parking": mutants.UnrewoundStore},
        {"only": frozenset({FaultKind.REWIND}), "deferred_events_max": 3},
    ),
]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_model_finds_a_part_that_lacks_a_protection(mutant: Mutant) -> None:
    for seed in range(MOST_SEEDS):
        plan = plan_for(seed, **mutant.options)
        if run_model(plan, **mutant.parts):
            assert run_model(plan) == [], "with the protection the same run breaks no promise"
            return
    pytest.fail(f"{MOST_SEEDS} runs with {mutant} broke no promise")
