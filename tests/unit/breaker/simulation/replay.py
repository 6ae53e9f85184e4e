"""A key that has stepped aside, and the replays of its events."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tests.unit.breaker.simulation.lane import Lane
from tests.unit.breaker.simulation.world import SECOND

if TYPE_CHECKING:
    from tests.unit.breaker.simulation.instance import Instance
    from tests.unit.breaker.simulation.partition import Partition

FIRST_PAUSE_US = SECOND
LONGEST_PAUSE_US = 600 * SECOND


class Deferred:
    """A key that waits in its parked list until a replay has handled its last event.

    Args:
        partition: the key's partition, whose owner replays.
        key: the key.
        events: numbers of the waiting events, oldest first; later events of the key join them.
    """

    def __init__(self, partition: Partition, key: str, events: deque[int]) -> None:
        self.partition = partition
        self.key = key
        self.events = events
        self.since = partition.fleet.world.now / SECOND
        self._pause_us = FIRST_PAUSE_US
        self._due = 0
        self._replaying = False
        if partition.owner is not None:
            partition.owner.defer(partition.key(key), self.since)
        self._plan()

    def replay_now(self) -> None:
        """Replay without waiting for the next time, because the circuit has closed."""
        self._due = self.partition.fleet.world.now
        self._replay()

    def _plan(self) -> None:
        world = self.partition.fleet.world
        self._due = world.now + self._pause_us
        world.after(self._pause_us, self._replay)

    def _replay(self) -> None:
        world, owner = self.partition.fleet.world, self.partition.owner
        if self._replaying or not self.events or world.now < self._due:
            return
        if owner is None or owner.stopping:
            world.after(SECOND, self._replay)
            return
        self._replaying = True
        Replay(self, owner).start()

    def replayed(self) -> None:
        """Release the key if no event waits; else try again after a pause twice as long."""
        self._replaying = False
        if not self.events:
            del self.partition.deferred[self.key]
            return
        self._pause_us = min(2 * self._pause_us, LONGEST_PAUSE_US)
        self._plan()


class Replay:
    """One replay of a deferred key: from its first event to the first event that fails.

    Attributes:
        deferred_at: seconds since the epoch at which the key was deferred.
    """

    halted = False

    def __init__(self, deferred: Deferred, instance: Instance) -> None:
        self.partition = deferred.partition
        self.instance = instance
        self.deferred_at: float | None = deferred.since
        self._deferred = deferred

    def start(self) -> None:
        """Start the first event."""
        Lane(self, self._deferred.key, self._deferred.events).start()

    def ended(self, lane: Lane) -> None:
        """End: no event of the key waits any more, or the instance is stopping."""
        self._deferred.replayed()

    def keep_timed_out(self) -> bool:
        """Return True: a replay keeps no event in place."""
        return True

    def must_defer(self, lane: Lane, *, exhausted: bool) -> bool:
        """Return whether the replay ends: once the attempts of an event are exhausted."""
        return exhausted

    def defer(self, lane: Lane) -> None:
        """End the replay; the event waits for the next one."""
        self._deferred.replayed()
