"""The running counts and the final summary of a redrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from processing.errors import BodyLostError
from processing.event import Event
from processing.handlers.raised import describe, type_name
from processing.poison.message import PoisonMessage
from processing.redrive.selection import Place


@dataclass(slots=True)
class RedriveCounts:
    """The running counts of a redrive.

    Attributes:
        progress: called with the numbers of finished and of all events.
        is_estimate: whether `total` counts messages instead of events.
        left_alone: the deferred keys that the redrive leaves alone.
        held_elsewhere: number of messages that somebody else holds.
        failed: id, key, error type and error message of each event that failed.
        still_deferred: the same of each event whose deferred key ends at it and stays deferred.
        lost: number of the failed events whose body is lost.
    """

    progress: Callable[[int, int], None]
    is_estimate: bool = False
    total: int = 0
    done: int = 0
    replayed: int = 0
    stale: int = 0
    released: int = 0
    busy: int = 0
    held_elsewhere: int = 0
    left_alone: set[Place] = field(default_factory=set)
    failed: list[tuple[str, str | None, str, str]] = field(default_factory=list)
    still_deferred: list[tuple[str, str | None, str, str]] = field(default_factory=list)

    lost: int = 0

    def count(self, *, replayed: int = 0, stale: int = 0) -> None:
        """Count replayed events, or stale copies of one message."""
        self.replayed += replayed
        self.stale += stale
        self.done += replayed + (stale > 0)
        self.total = max(self.total, self.done)
        self.progress(self.done, self.total)

    def merge(self, messages: int) -> None:
        """Note that so many messages are of an event that is counted anyway."""
        if self.is_estimate:
            self.total = max(self.done, self.total - messages)

    def count_failed(self, message: PoisonMessage) -> None:
        """Count an event that failed again."""
        self._fail(message.id, message.key, message.error.type, message.error.message)

    def count_unreadable(self, name: str, key: str | None, error: Exception) -> None:
        """Count an event that cannot be read, for example because its blob is gone."""
        self.lost += isinstance(error, BodyLostError)
        self._fail(name, key, type_name(error), describe(error))

    def count_kept(self, event: Event, error: Exception) -> None:
        """Count an event that keeps its place, because a dependency is down."""
        self._fail(event.id, event.key, type_name(error), describe(error))

    def count_still_deferred(self, event: Event, error: Exception) -> None:
        """Count a deferred key whose first event cannot be handled yet."""
        self.still_deferred.append((event.id, event.key, type_name(error), describe(error)))

    def _fail(self, name: str, key: str | None, kind: str, text: str) -> None:
        self.failed.append((name, key, kind, text))
        self.done += 1
        self.progress(self.done, self.total)


@dataclass(frozen=True, slots=True)
class RedriveFailure:
    """An event that failed again, or whose key stays deferred."""

    id: str
    key: str | None
    type: str
    message: str


@dataclass(frozen=True, slots=True)
class RedriveSummary:
    """The summary of a redrive.

    Attributes:
        replayed: number of events that were handled or discarded.
        failed: events that failed again; they stay in the queue or in their parked list.
        stale: number of removed copies of messages whose event had already been replayed.
        released: number of parked keys that were released.
        busy: number of skipped keys: another redrive, or the app, replays them, or another reader
            holds messages of theirs.
        deferred: number of deferred keys that were left alone; the app replays them by itself.
        still_deferred: the event at which the replay of each deferred key ended, because its
            dependency failed again; the key stays deferred.
        other_apps: number of selected messages of each other app, which were left alone.
        left: number of selected events that were not reached.
        lost: number of the failed events whose body is lost; they cannot be replayed.
        held_elsewhere: number of messages that somebody else holds, so that they were not tried.
        stopped: reason for an early stop, or "".
        seconds: duration of the redrive.
    """

    replayed: int
    failed: tuple[RedriveFailure, ...]
    stale: int
    released: int
    busy: int
    left: int
    stopped: str
    seconds: float
    deferred: int = 0
    still_deferred: tuple[RedriveFailure, ...] = ()
    other_apps: Mapping[str, int] = field(default_factory=dict)
    lost: int = 0
    held_elsewhere: int = 0

    @property
    def found_nothing(self) -> bool:
        """Return whether the redrive selected no event of the app, not even a replayed one."""
        found = self.replayed or self.stale or self.released or self.deferred
        return self.complete and not found

    @property
    def complete(self) -> bool:
        """Return whether every selected event is handled or discarded."""
        kept = self.failed or self.busy or self.left or self.still_deferred or self.held_elsewhere
        return not (kept or self.stopped)
