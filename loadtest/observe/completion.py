"""When a run is over: everything accounted for, no progress any more, or out of time."""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.observe.observer import Sample

IDLE_SECONDS = 3.0


@dataclass(slots=True)
class Watch:
    """Decides from the figures of the moment; `now` is a monotonic clock's value in seconds.

    Attributes:
        needed: handled and poisoned events that make the run complete; raised by the runner when
            some of what was counted turns out to be repetitions.
    """

    needed: int
    timeout_seconds: float
    stall_seconds: float
    began: float
    _idle_since: float | None = None
    _moved_at: float = -1.0
    _figures: tuple[object, ...] = ()
    _looked_at: float | None = None

    def complete(self, sample: Sample, now: float, *, over: bool) -> bool:
        """Whether everything was sent and is accounted for and the circuit is closed.

        If the last event of all was one that opened the circuit, it stays half-open for want of
        anything to probe with: that is complete as well, after a moment.
        """
        accounted = over and sample.handled + sample.poisoned >= self.needed
        if not accounted or sample.state != "half_open":
            self._idle_since = None
            return accounted and sample.state == "closed"
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since >= IDLE_SECONDS

    def pause(self, now: float) -> None:
        """Count the time since the last look as none: a person takes as long as they need."""
        if self._looked_at is not None:
            self.began += now - self._looked_at
        self._looked_at = self._moved_at = now

    def given_up(self, sample: Sample, acknowledged: int, now: float) -> str | None:
        """Why waiting on makes no sense, or None."""
        self._looked_at = now
        figures = (
            sample.handled,
            sample.poisoned,
            sample.state,
            sample.generation,
            sample.app_state,
            acknowledged,
        )
        if figures != self._figures:
            self._figures, self._moved_at = figures, now
        missing = self.needed - sample.handled - sample.poisoned
        so_far = (
            f"{sample.handled} handled, {sample.poisoned} poisoned, {missing} missing, "
            f"circuit {sample.state}, function app {sample.app_state}"
        )
        if now - self._moved_at >= self.stall_seconds:
            return f"nothing moved for {self.stall_seconds:g} s: {so_far}"
        if now - self.began >= self.timeout_seconds:
            return f"not finished after {self.timeout_seconds:g} s: {so_far}"
        return None
