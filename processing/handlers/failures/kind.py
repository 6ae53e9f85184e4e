"""The kinds of failure, and the failure of one event."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class FailureKind(Enum):
    """The kind of a failure, which decides what happens to the event."""

    POISON = auto()  # the event can never succeed
    EXHAUSTED = auto()  # all attempts failed
    DEPENDENCY = auto()  # a dependency is down; the event is kept
    THROTTLED = auto()  # a dependency limits the rate of calls; the event is kept
    REFUSED = auto()  # an open circuit refused the call; the event is kept
    FAULTY = auto()  # the handler returned a result that nobody awaits; the event is kept
    OVERDUE = auto()  # an earlier run has not ended in time; the event is kept, without a call

    @property
    def keeps(self) -> bool:
        """Return whether the event is kept and tried again, instead of being poisoned."""
        return self not in (FailureKind.POISON, FailureKind.EXHAUSTED)

    @property
    def counts(self) -> bool:
        """Return whether the circuit counts the failure; poison has a setting of its own."""
        return self in (FailureKind.EXHAUSTED, FailureKind.DEPENDENCY, FailureKind.FAULTY)

    @property
    def names_dependency(self) -> bool:
        """Return whether the failure is that of a dependency, which an error may name."""
        return self in (FailureKind.DEPENDENCY, FailureKind.THROTTLED, FailureKind.REFUSED)

    @property
    def retries(self) -> bool:
        """Return whether a further attempt after a short pause may succeed."""
        return self in (FailureKind.EXHAUSTED, FailureKind.DEPENDENCY, FailureKind.THROTTLED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The meaning of one error.

    Attributes:
        kind: the kind of failure.
        retry_after: seconds until the next attempt makes sense, above 0 and possibly infinite; None
            if the error does not say.
        dependency: name of the dependency that failed, in lower case; "" if the error names none.
    """

    kind: FailureKind
    retry_after: float | None = None
    dependency: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of an event after all its attempts; times in seconds since 1970.

    Attributes:
        retry_after, dependency: see `Verdict`.
    """

    kind: FailureKind
    error: Exception
    attempts: int
    first_attempt: float
    last_attempt: float
    retry_after: float | None = None
    dependency: str = ""
