"""Healthy traffic in bulk: many events as a few simulated steps."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from breaker import Key, Permit
from tests.unit.breaker.simulation.world import SECOND, us

if TYPE_CHECKING:
    from tests.unit.breaker.simulation.batch import Batch

_STEP_US = SECOND


class Stream:
    """The healthy events of one partition, which arrive at random.

    Args:
        rates: (seconds since the start, events a second from then on), in order.
        keys: number of keys, which bounds the lanes of a batch.
        duration: seconds of one call.
    """

    def __init__(
        self,
        rates: Sequence[tuple[float, float]],
        *,
        keys: int,
        duration: Callable[[random.Random], float],
    ) -> None:
        self._rates = list(rates)
        self.keys = keys
        self.duration = duration
        self._taken_until = 0.0

    def take(self, seconds: float, rng: random.Random) -> int:
        """Return the number of events that have arrived since the last call."""
        mean = 0.0
        ends = [start for start, _ in self._rates[1:]] + [math.inf]
        for (start, rate), end in zip(self._rates, ends, strict=True):
            mean += rate * max(0.0, min(seconds, end) - max(self._taken_until, start))
        self._taken_until = seconds
        if mean > 10:
            return max(0, round(rng.gauss(mean, math.sqrt(mean))))
        count, left = 0, rng.expovariate(1.0)
        while left < mean:
            count += 1
            left += rng.expovariate(1.0)
        return count

    def until_next(self, seconds: float, rng: random.Random) -> float | None:
        """Return the seconds until the next event arrives; None: no event arrives any more."""
        current = [rate for start, rate in self._rates if start <= seconds]
        later = [start for start, rate in self._rates if start > seconds]
        if current and current[-1] > 0:
            wait = rng.expovariate(current[-1])
            if not later or seconds + wait < later[0]:
                return wait
        return later[0] - seconds if later else None


class Cohort:
    """The lanes of a batch's healthy events, as one lane that succeeds about once a second.

    Args:
        work: the batch.
        count: number of events.
        stream: the stream that the events are of.
    """

    def __init__(self, work: Batch, count: int, stream: Stream) -> None:
        self.work = work
        self.key = f"healthy keys of {work.partition.name}"
        self.events: deque[int] = deque()
        self._instance = work.instance
        self._world = work.partition.fleet.world
        lanes = min(count, stream.keys)
        self._each = us(stream.duration(self._world.rng))
        self._left = math.ceil(count / lanes) * self._each
        self._permit = Permit(0)
        self._key = Key(self.key, several=True)

    def start(self) -> None:
        """Start the first step."""
        self._instance.breaker.enter(self._key)
        self._next()

    def _next(self) -> None:
        if self._left <= 0 or self.work.halted or self._instance.stopping:
            self._instance.breaker.leave(self._key)
            self.work.ended(self)
            return
        permit = self._instance.admit(self._key)
        if permit is None:
            self._instance.wait(self._next)
            return
        self._permit = permit
        step = min(self._left, max(self._each, _STEP_US))
        self._left -= step
        self._world.after(step, self._step_ended)

    def _step_ended(self) -> None:
        self.work.partition.fleet.successes += 1
        self._instance.succeeded(self._each / SECOND, self._permit)
        self._next()
