"""The interface of a flight recorder, without its file, so that importing it stays cheap."""

from __future__ import annotations

import threading
from typing import Protocol

from processing.event import Event


class Recorder(Protocol):
    """A recorder of running calls and batches."""

    def begin(self, kind: str, *fields: object) -> int:
        """Record something that begins, and return the record's slot."""
        ...

    def end(self, slot: int) -> None:
        """Remove a record."""
        ...


class NoRecorder:
    """A recorder that records nothing."""

    def begin(self, kind: str, *fields: object) -> int:
        """See `Recorder.begin`."""
        return 0

    def end(self, slot: int) -> None:
        """See `Recorder.end`."""


def call_fields(event: Event) -> tuple[object, ...]:
    """Return the fields of a call's record: the thread that calls, and the event."""
    return threading.get_ident(), event.id
