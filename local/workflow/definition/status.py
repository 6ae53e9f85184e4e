"""The statuses of actions and runs."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The status of an action or a run; an action that has not started has no status."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    TIMED_OUT = "TimedOut"
    CANCELLED = "Cancelled"

    @property
    def is_final(self) -> bool:
        """Return whether the action or run has ended."""
        return self is not Status.RUNNING


RUN_AFTER = frozenset({Status.SUCCEEDED, Status.FAILED, Status.SKIPPED, Status.TIMED_OUT})
"""The statuses that `runAfter` accepts."""
