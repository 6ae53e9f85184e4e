"""The simulated time: a heap of actions, in whole microseconds."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count

SECOND = 1_000_000
START_US = 1_700_000_000 * SECOND


def us(seconds: float) -> int:
    """Return a duration in whole microseconds."""
    return round(seconds * SECOND)


class World:
    """The clock of a simulated fleet, its random numbers, and the actions to come.

    Attributes:
        now: microseconds since the epoch.
        rng: the only source of randomness, so that a seed names a run.
        stopped: ends `run` after the current action.
    """

    def __init__(self, seed: int) -> None:
        self.now = START_US
        self.rng = random.Random(seed)  # noqa: S311 - a simulation, not a secret
        self.stopped = False
        self._order = count()
        self._actions: list[tuple[int, int, Callable[[], None]]] = []

    @property
    def seconds(self) -> float:
        """The simulated seconds since the start."""
        return (self.now - START_US) / SECOND

    def now_us(self) -> int:
        """Return the time; this method is the store's clock."""
        return self.now

    def monotonic(self) -> float:
        """Return the time in seconds; the world is also the clock of the breakers."""
        return self.now / SECOND

    async def sleep(self, seconds: float) -> None:
        """Refuse to sleep: a simulated call never suspends."""
        raise AssertionError(f"a simulated call slept for {seconds:g} s")

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        """Run an action after a delay; actions of the same time run in the order of the calls."""
        heapq.heappush(self._actions, (self.now + delay_us, next(self._order), action))

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Run an action at a time in seconds since the start."""
        self.after(max(0, START_US + us(seconds) - self.now), action)

    def run(self, seconds: float) -> None:
        """Run all actions up to a time in seconds since the start, or until `stopped`."""
        end = START_US + us(seconds)
        actions = self._actions
        while actions and actions[0][0] <= end and not self.stopped:
            self.now, _, action = heapq.heappop(actions)
            action()
        if not self.stopped:
            self.now = max(self.now, end)
