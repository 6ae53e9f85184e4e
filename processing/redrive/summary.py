"""What has come of a redrive up to now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from processing.poison.message import PoisonMessage


@dataclass(slots=True)
class RedriveCounts:
    """What has come of a redrive up to now; `failed` holds id, key, error type and message."""

    progress: Callable[[int, int], None]
    total: int = 0
    done: int = 0
    replayed: int = 0
    stale: int = 0
    released: int = 0
    busy: int = 0
    failed: list[tuple[str, str | None, str, str]] = field(default_factory=list)

    def count(self, *, replayed: int = 0, stale: int = 0) -> None:
        """Some events are done."""
        self.replayed += replayed
        self.stale += stale
        self.done += replayed + (stale > 0)
        self.total = max(self.total, self.done)
        self.progress(self.done, self.total)

    def fail(self, message: PoisonMessage) -> None:
        """An event failed again."""
        self._fail(message.id, message.key, message.error.type, message.error.message)

    def unreadable(self, name: str, key: str | None, error: Exception) -> None:
        """An event can't be read: its blob is gone, for example."""
        self._fail(name, key, type(error).__name__, str(error))

    def _fail(self, name: str, key: str | None, kind: str, text: str) -> None:
        self.failed.append((name, key, kind, text))
        self.done += 1
        self.progress(self.done, self.total)


@dataclass(frozen=True, slots=True)
class RedriveFailure:
    """An event that failed again."""

    id: str
    key: str | None
    type: str
    message: str


@dataclass(frozen=True, slots=True)
class RedriveSummary:
    """What came of a redrive.

    Attributes:
        replayed: events that are handled now.
        failed: those that failed again, and stay.
        stale: copies of messages whose event was replayed before; removed.
        released: parked keys that are released.
        busy: keys that another redrive replays.
        left: events that were selected and not reached.
        stopped: why it stopped early, or "".
    """

    replayed: int
    failed: tuple[RedriveFailure, ...]
    stale: int
    released: int
    busy: int
    left: int
    stopped: str
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether everything that was selected is handled."""
        return not (self.failed or self.busy or self.left or self.stopped)
