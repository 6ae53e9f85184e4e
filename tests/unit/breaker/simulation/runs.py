"""Many runs of a scenario, each of a seed of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest

FEW = 8
MANY = 1_000
SWEEPS = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.long)]

type Scenario = Callable[[int], str | None]
"""A run of a seed, which returns what went wrong, or None."""


def broken_runs(scenario: Scenario, runs: int) -> list[str]:
    """Run a scenario with the seeds from 0, and return a line for each run that went wrong."""
    broken: list[str] = []
    shown = time.monotonic()
    for seed in range(runs):
        problem = scenario(seed)
        if problem is not None:
            broken.append(f"seed {seed}: {problem}")
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            sys.__stderr__.write(  # type: ignore[union-attr]
                f"{scenario}: {seed + 1} of {runs} runs, {len(broken)} broken\n"
            )
    return broken
