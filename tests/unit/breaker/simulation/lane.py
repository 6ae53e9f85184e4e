"""A simulated lane: the events of one key in one batch, or the replay of a deferred key."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from breaker import Permit
from tests.unit.breaker.simulation.downstream import Outcome
from tests.unit.breaker.simulation.instance import ERROR
from tests.unit.breaker.simulation.world import SECOND, us

if TYPE_CHECKING:
    from tests.unit.breaker.simulation.batch import Batch
    from tests.unit.breaker.simulation.replay import Replay


class Lane:
    """The events of one key, one after another, with their attempts.

    Args:
        work: the batch or the replay that the lane belongs to.
        key: the key; a partition's keyless events have one key.
        events: numbers of the events, oldest first; finished events are removed.

    Attributes:
        failing_since: microseconds of the first attempt of the event that is failing now.
    """

    def __init__(self, work: Batch | Replay, key: str, events: deque[int]) -> None:
        partition = work.partition
        self.work = work
        self.key = key
        self.events = events
        self.failing_since: int | None = None
        self._world = partition.fleet.world
        self._fleet = partition.fleet
        self._instance = work.instance
        self._key = partition.key(key)
        self._source = partition.name
        self._permit = Permit(0)
        self._attempts = 0
        self._called_at = 0
        self._counts = True

    @property
    def probes(self) -> bool:
        """Return whether the event runs with a probe's permit."""
        return self._permit.probe_id is not None

    @property
    def _event(self) -> str:
        return f"{self._source}/{self.events[0]}"

    def start(self) -> None:
        """Start the first event."""
        self._counts = self._instance.counts(self.work.deferred_at)
        if self._counts:
            self._instance.breaker.enter(self._key)
        self._next()

    def _end(self) -> None:
        self._leave()
        self.work.ended(self)

    def _leave(self) -> None:
        if self._counts:
            self._instance.breaker.leave(self._key)

    def _next(self) -> None:
        if self.events:
            self._admit()
        else:
            self._end()

    def _admit(self) -> None:
        """Call the handler as soon as the circuit admits the first event."""
        if self.work.halted or self._instance.stopping:
            self._end()
            return
        permit = self._instance.admit(self._key)
        if permit is None:
            self._instance.wait(self._admit)
            return
        self._permit = permit
        self._attempts = 0
        self._call()

    def _call(self) -> None:
        world = self._world
        self._called_at = world.now
        outcome, duration = self._fleet.downstream.call(self.key, world.seconds, world.rng)
        if outcome is Outcome.SUCCESS:
            world.after(duration, self._succeeded)
        elif outcome is Outcome.POISON:
            world.after(duration, self._poisoned)
        else:
            self._fleet.call_fails()
            if self.failing_since is None:
                self.failing_since = world.now
            world.after(duration, lambda: self._failed(outcome))

    def _succeeded(self) -> None:
        self._fleet.successes += 1
        self._instance.succeeded((self._world.now - self._called_at) / SECOND, self._permit)
        self._finish()

    def _poisoned(self) -> None:
        self._instance.poisoned(self._event, self._permit)
        self._finish()

    def _finish(self) -> None:
        self.events.popleft()
        self.failing_since = None
        self._next()

    def _failed(self, outcome: Outcome) -> None:
        """Retry the event, keep it, poison it, or let its key step aside."""
        self._attempts += 1
        settings = self._fleet.settings
        if self._counts:
            self._instance.breaker.note_failed_attempt(self._key, ERROR)
        exhausted = self._attempts >= settings.max_attempts
        if outcome is Outcome.DEPENDENCY and self.work.must_defer(self, exhausted=exhausted):
            self._report()
            self._leave()
            self.work.defer(self)
        elif not exhausted:
            pause = settings.retry_initial_seconds * 2 ** (self._attempts - 1)
            pause += self._world.rng.uniform(0, settings.retry_initial_seconds)
            self._pause(min(settings.retry_max_seconds, pause), self._retry)
        elif outcome is Outcome.ORDINARY:
            self._report()
            self._finish()
        else:
            self._report()
            if self.work.keep_timed_out():
                self.work.halted = True
                self._end()
            else:
                self._pause(settings.dependency_pause_seconds, self._admit)

    def _report(self) -> None:
        self._instance.failed(self._event, self._permit, self.work.deferred_at)

    def _pause(self, seconds: float, action: Callable[[], None]) -> None:
        self._world.after(us(seconds), action)

    def _retry(self) -> None:
        if self._instance.stopping:
            self._instance.release(self._permit)
            self._end()
        else:
            self._call()
