"""The conditions of one benchmark's run: thoroughness, directory and progress callbacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Context:
    """One run of a benchmark.

    Attributes:
        quick: whether the run is short, for trying things out, without meaningful figures.
        directory: an empty directory for the benchmark.
        expect: called once with the number of steps.
        advance: called after each step.
    """

    quick: bool
    directory: Path
    expect: Callable[[int], None] = lambda steps: None
    advance: Callable[[], None] = lambda: None

    def scaled(self, full: int, quick: int) -> int:
        """Return `full`, or `quick` in a quick run."""
        return quick if self.quick else full
