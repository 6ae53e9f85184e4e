"""Many runs of a scenario, each with a seed of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest

from tests.unit.breaker.simulation.fleet import Fleet

LONG = [pytest.mark.long, pytest.mark.timeout(1_200)]
_SHOW_SECONDS = 5.0

type Scenario = Callable[[int], str | None]
"""A run of a seed, which returns what went wrong, or None."""


def sweep(few: int, many: int) -> pytest.MarkDecorator:
    """Return the parameter `runs`: a few in `make test`, and many in `make test-long`."""
    values = [
        pytest.param(few, id=f"{few}-runs"),
        pytest.param(many, id=f"{many}-runs", marks=LONG),
    ]
    return pytest.mark.parametrize("runs", values)


def broken_runs(scenario: Scenario, runs: int) -> list[str]:
    """Run a scenario with the seeds from 0, and return a line for each run that went wrong."""
    broken: list[str] = []
    shown = time.monotonic()
    for seed in range(runs):
        problem = scenario(seed)
        if problem is not None:
            broken.append(f"seed {seed}: {problem}")
        if time.monotonic() - shown > _SHOW_SECONDS:
            shown = time.monotonic()
            print(f"{seed + 1} of {runs} runs, {len(broken)} broken", file=sys.__stderr__)
    return broken


def opening(fleet: Fleet) -> str | None:
    """Return when and why the circuit opened; None if the circuit is closed."""
    if not fleet.opened:
        return None
    mode = "deferring" if fleet.deferring else "in place"
    return f"opened after {fleet.times()[0]:.1f} s ({mode}): {fleet.reason}"
