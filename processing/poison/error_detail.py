"""The details of an error in a poison message, in a form that can always be stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from processing.formats.cut import beginning, end
from processing.handlers.own_frames import FRAME_BYTES, MOST_FRAMES, own_frames
from processing.handlers.raised import LONGEST_TEXT, describe, dotted_type, traceback_tail

TRACEBACK_CHARACTERS = 4000
TYPE_BYTES = 1024
MESSAGE_BYTES = 12 * 1024
TRACEBACK_BYTES = 16 * 1024
"""Longest texts in JSON, where a character has up to 12 bytes."""


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """The last error of an event.

    Attributes:
        type: the dotted name of the error's type.
        message: the error's text.
        traceback: the end of the error's traceback.
        frames: the user's own frames, such as `orders.py:12 handle`; the innermost is the last.
    """

    type: str
    message: str
    traceback: str
    frames: tuple[str, ...] = ()

    @classmethod
    def from_error(cls, error: Exception) -> Self:
        """Return the details of an error; long texts are cut."""
        traceback = traceback_tail(error, TRACEBACK_CHARACTERS)
        return cls(dotted_type(error), describe(error), traceback, own_frames(error)).cut()

    def cut(self) -> Self:
        """Return the details with texts of a limited number of bytes."""
        return replace(
            self,
            type=beginning(self.type, TYPE_BYTES),
            message=beginning(self.message, MESSAGE_BYTES),
            traceback=end(self.traceback, TRACEBACK_BYTES),
            frames=tuple(end(each, FRAME_BYTES) for each in self.frames[-MOST_FRAMES:]),
        )

    def without(self, left_out: str) -> Self:
        """Return the details with a note about a part of the event that is not stored."""
        half = LONGEST_TEXT // 2
        note = f"not stored: {left_out[:half]}"
        return replace(self, message=f"{self.message[:half]} ({note})").cut()
