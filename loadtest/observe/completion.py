"""When a run is over: everything accounted for, no progress any more, or out of time."""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.observe.observer import Sample

IDLE_SECONDS = 3.0


@dataclass(slots=True)
class Completion:
    """The rule that decides when a run is over; `now` is a monotonic clock's value in seconds.

    Attributes:
        needed: handled and poisoned events that make the run complete; raised by the runner when
            some of what was counted turns out to be repetitions.
    """

    needed: int
    timeout_seconds: float
    stall_seconds: float
    began: float
    _idle_since: float | None = None
    _changed_at: float = -1.0
    _figures: tuple[object, ...] = ()
    _sampled_at: float | None = None

    def complete(self, sample: Sample, now: float, *, over: bool) -> bool:
        """Return whether everything was sent and is accounted for and the circuit is closed.

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
        """Leave the time since the last sample out: an operator may take any time to approve."""
        if self._sampled_at is not None:
            self.began += now - self._sampled_at
        self._sampled_at = self._changed_at = now

    def reason_to_give_up(self, sample: Sample, acknowledged: int, now: float) -> str | None:
        """Return why the run cannot complete any more, or None."""
        self._sampled_at = now
        figures = (
            sample.handled,
            sample.poisoned,
            sample.state,
            sample.generation,
            sample.app_state,
            acknowledged,
        )
        if figures != self._figures:
            self._figures, self._changed_at = figures, now
        missing = self.needed - sample.handled - sample.poisoned
        so_far = (
            f"{sample.handled} handled, {sample.poisoned} poisoned, {missing} missing, "
            f"circuit {sample.state}, function app {sample.app_state}"
        )
        if now - self._changed_at >= self.stall_seconds:
            return f"nothing moved for {self.stall_seconds:g} s: {so_far}"
        if now - self.began >= self.timeout_seconds:
            return f"not finished after {self.timeout_seconds:g} s: {so_far}"
        return None
