"""The details of an error in a poison message, in a form that can always be stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from processing.handlers.raised import LONGEST_TEXT, describe, dotted_type, traceback_tail

TRACEBACK_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """The last error: its type's dotted name, its message and the tail of its traceback."""

    type: str
    message: str
    traceback: str

    @classmethod
    def from_error(cls, error: Exception) -> Self:
        """Return the details of an error; long texts are cut."""
        return cls(dotted_type(error), describe(error), traceback_tail(error, TRACEBACK_CHARACTERS))

    def without(self, left_out: str) -> Self:
        """Return the details with a note about a part of the event that is not stored."""
        half = LONGEST_TEXT // 2
        note = f"not stored: {left_out[:half]}"
        return replace(self, message=f"{self.message[:half]} ({note})")
