"""The rule that ends a run when every event is accounted for, progress stalls or time is up."""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.observe.observer import Sample
from loadtest.verify.verdict import Verdict

IDLE_SECONDS = 3.0


@dataclass(slots=True)
class Completion:
    """The rule that decides when a run is over; `now` is a monotonic clock's value in seconds.

    Attributes:
        needed: handled and poisoned events that make the run complete; the runner increases the
            number when some counted entries are duplicates.
        expired: events that the hub has lost, so that nobody can handle them.
    """

    needed: int
    timeout_seconds: float
    stall_seconds: float
    began: float
    expired: int = 0
    _idle_since: float | None = None
    _deferred_since: float | None = None
    _changed_at: float = -1.0
    _figures: tuple[object, ...] = ()
    _sampled_at: float | None = None

    def complete(self, sample: Sample, now: float, *, over: bool) -> bool:
        """Return whether every event was sent and is accounted for and all circuits are closed.

        If the last event opened a circuit, the circuit stays half-open because no event is left to
        probe with. Such a run is complete after IDLE_SECONDS.
        """
        accounted = over and sample.handled + sample.poisoned >= self.needed - self.expired
        states = {sample.state, *sample.dependencies.values()}
        if not accounted or "half_open" not in states or states - {"closed", "half_open"}:
            self._idle_since = None
            return accounted and states == {"closed"}
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since >= IDLE_SECONDS

    def goes_on(self, verdict: Verdict, needed: int, now: float) -> bool:
        """Return whether a run whose count was reached must be watched further.

        The observer counts entries, and only the verifier recognizes duplicates. If events are
        missing and others are counted twice, the count was reached too early. And an instance that
        is killed during a replay leaves handled events in the list of a deferred key, until another
        instance replays the list.

        Args:
            verdict: what the verifier has found.
            needed: the number of entries, if the duplicates that it has found count as well.
            now: the time; keys may stay deferred for `stall_seconds`.
        """
        if verdict.lost and needed > self.needed:
            self.needed = needed
            return True
        if verdict.came_back >= verdict.deferred:
            return False
        if self._deferred_since is None:
            self._deferred_since = now
        return now - self._deferred_since < self.stall_seconds

    def pause(self, now: float) -> None:
        """Exclude the time since the last sample, because a person may approve at any time."""
        if self._sampled_at is not None:
            self.began += now - self._sampled_at
        self._sampled_at = self._changed_at = now

    def reason_to_give_up(self, sample: Sample, acknowledged: int, now: float) -> str | None:
        """Return why the run gives up, or None."""
        self._sampled_at = now
        figures = (
            sample.handled,
            sample.poisoned,
            sample.state,
            sample.generation,
            sample.app_state,
            sample.dependencies,
            acknowledged,
        )
        if figures != self._figures:
            self._figures, self._changed_at = figures, now
        missing = self.needed - self.expired - sample.handled - sample.poisoned
        so_far = (
            f"{sample.handled} handled, {sample.poisoned} poisoned, {missing} missing, "
            f"circuit {sample.state}, function app {sample.app_state}"
        ) + "".join(f", circuit of {name} {each}" for name, each in sample.dependencies.items())
        if now - self._changed_at >= self.stall_seconds:
            return f"no progress for {self.stall_seconds:g} s: {so_far}"
        if now - self.began >= self.timeout_seconds:
            return f"not finished after {self.timeout_seconds:g} s: {so_far}"
        return None
