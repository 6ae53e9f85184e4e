"""The conditions of one benchmark's run: thoroughness, directory and progress callbacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Context:
    """One benchmark's run.

    Attributes:
        quick: much shorter, for trying things out; the figures are not worth much.
        directory: an empty directory of its own.
        expect: called once with the number of steps to come.
        advance: called after each step.
    """

    quick: bool
    directory: Path
    expect: Callable[[int], None] = lambda steps: None
    advance: Callable[[], None] = lambda: None

    def scaled(self, full: int, quick: int) -> int:
        """A size: `full`, or `quick` in a quick run."""
        return quick if self.quick else full
