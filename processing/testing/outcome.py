"""The outcome of a run: what became of each event, and each call of the handler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from breaker import CircuitState
from processing.event import Event
from processing.handlers.raised import describe, type_name

type State = Literal["handled", "poisoned", "deferred", "parked", "kept", "skipped"]

_SHOWN = 20
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the handler.

    Attributes:
        event: the event, or the first event of a list.
        error: the handler's error; None if the handler ran to its end.
        events: all events of the call.
    """

    event: Event
    error: Exception | None
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """The outcome of one event.

    Attributes:
        event: the event.
        state: the state at the end of the run.
        attempts: number of the handler's calls with the event, in this and earlier runs.
        error: the error of the last failed call; for an event that was not called, the error that
            ended its batch. None without such an error.
        why: type and text of the error; for a poisoned event as in the poison message.
    """

    event: Event
    state: State
    attempts: int
    error: BaseException | None
    why: str

    def __str__(self) -> str:
        attempts = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        key = "no key" if self.event.key is None else f"key {self.event.key!r:.60}"
        place = f"{self.event.partition}/{self.event.sequence_number}"
        why = f": {self.why}" if self.why else ""
        return f"{place} ({key}): {self.state} after {attempts}{why:.{_LONGEST}}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one run.

    >>> from breakwater.testing import event, run
    >>> def handle(event):
    ...     int(event.text())
    >>> good, bad = event("7"), event("seven")
    >>> print(run(handle, [good, bad]))  # doctest: +ELLIPSIS
    0/... (no key): handled after 1 attempt
    0/... (no key): poisoned after 4 attempts: builtins.ValueError: invalid literal for int() ...
    circuits: app closed

    The events are the objects that the test has passed. Each list is in the order in which it
    happened, or in the order of the run.

    Attributes:
        handled: events whose handler ran to its end, in the order of the ends. An event appears
            twice if the handler ran twice for it, for example after a crash.
        poisoned: events that went to the poison queue.
        deferred: events that wait, with their key, because a dependency is down.
        parked: events that wait behind a deferred or a poisoned event of their key.
        kept: events that no batch has finished; the hub delivers them again.
        skipped: events that were finished before, and so were not handled again.
        calls: each call of the handler, in the order of the calls' ends.
        circuit: the state of the app's circuit.
        circuits: the state of each dependency's circuit, by name.
        errors: the errors with which batches ended, in order.
        seconds: the time that the run took on the test clock.
    """

    handled: list[Event]
    poisoned: list[Event]
    deferred: list[Event]
    parked: list[Event]
    kept: list[Event]
    skipped: list[Event]
    calls: list[Call]
    circuit: CircuitState
    circuits: Mapping[str, CircuitState]
    errors: list[Exception]
    seconds: float
    _events: Mapping[str, EventOutcome] = field(repr=False)

    def of(self, event: Event) -> EventOutcome:
        """Return the outcome of one event.

        Raises:
            KeyError: the app has not received the event.
        """
        if event.id not in self._events:
            raise KeyError(f"the app has not received event {event.id}")
        return self._events[event.id]

    def check(self) -> None:
        """Raise the error of the first event that was not handled; return if there is none.

        The handler's own error is raised, with its traceback.

        Raises:
            Exception: the error; an `AssertionError` if the event has none.
        """
        for each in self._events.values():
            if each.state not in ("handled", "skipped"):
                raise each.error or AssertionError(str(each))

    def __str__(self) -> str:
        lines = [str(each) for each in self._events.values()]
        if len(lines) > _SHOWN:
            lines[_SHOWN:] = [f"… and {len(lines) - _SHOWN} more events"]
        circuits = {"app": self.circuit, **self.circuits}
        lines.append(
            "circuits: " + ", ".join(f"{name} {state}" for name, state in circuits.items())
        )
        lines += [f"batch ended: {text_of(error)[:_LONGEST]}" for error in self.errors[:3]]
        return "\n".join(lines)


def text_of(error: BaseException) -> str:
    """Return the type and the text of an error."""
    return f"{type_name(error)}: {describe(error)}"
