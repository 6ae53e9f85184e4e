"""The called service: a dependency that can be down, healthy keys and bad keys."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum, auto

from tests.unit.breaker.simulation.world import us

KEYLESS = ""
"""The key of events without a key."""


class Outcome(Enum):
    """The end of one call of the handler."""

    SUCCESS = auto()
    DEPENDENCY = auto()
    """The error means that the dependency is down: the event is kept."""
    ORDINARY = auto()
    """Any other error: the event goes to the poison queue when its attempts are exhausted."""
    POISON = auto()
    """The event can never succeed: the poison queue at once, without a retry."""


def fixed(seconds: float) -> Callable[[random.Random], float]:
    """Return a duration that never varies."""
    return lambda _rng: seconds


def between(low: float, high: float) -> Callable[[random.Random], float]:
    """Return a duration that varies evenly."""
    return lambda rng: rng.uniform(low, high)


@dataclass
class Downstream:
    """The behaviour of all calls of one run; durations in seconds.

    Attributes:
        duration: how long a call that succeeds takes.
        slowness: factor of `duration`, by the seconds since the start.
        fail_duration: how long a call takes while the dependency is down.
        outages: times, from and to, at which the dependency is down.
        outage_outcome: outcome of each call while the dependency is down.
        bad_keys: keys whose calls always fail, after `bad_duration`, with `bad_outcome`.
        poison_ratio: share of the events that are poison.
    """

    duration: Callable[[random.Random], float] = field(default_factory=lambda: fixed(0.05))
    slowness: Callable[[float], float] = lambda _seconds: 1.0
    fail_duration: Callable[[random.Random], float] = field(default_factory=lambda: fixed(0.002))
    outages: list[tuple[float, float]] = field(default_factory=list)
    outage_outcome: Outcome = Outcome.DEPENDENCY
    bad_keys: Collection[str] = ()
    bad_duration: Callable[[random.Random], float] = field(default_factory=lambda: fixed(0.002))
    bad_outcome: Outcome = Outcome.DEPENDENCY
    poison_ratio: float = 0.0

    def call(self, key: str, seconds: float, rng: random.Random) -> tuple[Outcome, int]:
        """Return the outcome of a call that starts now, and its duration in microseconds."""
        for start, end in self.outages:
            if start <= seconds < end:
                return self.outage_outcome, us(self.fail_duration(rng))
        if key in self.bad_keys:
            return self.bad_outcome, us(self.bad_duration(rng))
        if self.poison_ratio and rng.random() < self.poison_ratio:
            return Outcome.POISON, us(self.fail_duration(rng))
        return Outcome.SUCCESS, us(self.duration(rng) * self.slowness(seconds))
