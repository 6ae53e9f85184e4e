"""The result of a batch: the number of its events by outcome."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The number of a batch's events by outcome.

    Attributes:
        parked: events that wait behind a poisoned or deferred event of their key.
        skipped: events that were finished before, or that the batch contained twice.
        deferred: events whose dependency is down, and which wait for a replay.
        duplicates: copies that a producer has sent again; see `PROCESSING_DEDUPE_PROPERTY`.
        seconds: duration of the batch.
    """

    handled: int
    poisoned: int
    parked: int
    skipped: int
    seconds: float
    deferred: int = 0
    duplicates: int = 0

    @property
    def outcomes(self) -> dict[str, int]:
        """The number of events by outcome."""
        return {
            "handled": self.handled,
            "poisoned": self.poisoned,
            "deferred": self.deferred,
            "parked": self.parked,
            "skipped": self.skipped,
            "duplicates": self.duplicates,
        }
