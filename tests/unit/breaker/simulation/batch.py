"""A simulated invocation: the lanes of one batch."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tests.unit.breaker.simulation.downstream import KEYLESS
from tests.unit.breaker.simulation.lane import Lane
from tests.unit.breaker.simulation.stream import Cohort, Stream
from tests.unit.breaker.simulation.world import us

if TYPE_CHECKING:
    from tests.unit.breaker.simulation.instance import Instance
    from tests.unit.breaker.simulation.partition import Partition


class Batch:
    """One invocation: at most `max_lanes` lanes at a time, until all have ended.

    Args:
        partition: the partition of the events.
        instance: the instance that runs the batch.
        lanes: the numbers of the events by key.

    Attributes:
        lanes: the lanes, in the order in which they start.
        halted: no lane starts another event, because an event was kept for too long, or the
            partition has moved.
    """

    deferred_at: float | None = None

    def __init__(
        self, partition: Partition, instance: Instance, lanes: dict[str, deque[int]]
    ) -> None:
        self.partition = partition
        self.instance = instance
        self.halted = False
        self.lanes: list[Lane | Cohort] = [Lane(self, key, lanes[key]) for key in lanes]
        self._abandoned = False
        self._keep_until: int | None = None
        self._waiting: deque[Lane | Cohort] = deque()
        self._running = 0

    def add(self, stream: Stream, arrived: int) -> None:
        """Add `arrived` events of a stream and all that have arrived since the last batch."""
        world = self.partition.fleet.world
        count = arrived + stream.take(world.seconds, world.rng)
        if count:
            self.lanes.insert(0, Cohort(self, count, stream))

    def start(self) -> None:
        """Start as many lanes as may run."""
        self._waiting.extend(self.lanes)
        most = self.partition.fleet.settings.max_lanes
        while self._waiting and self._running < most:
            self._running += 1
            self._waiting.popleft().start()

    def ended(self, lane: Lane | Cohort) -> None:
        """Start the next lane, or end the batch."""
        self._running -= 1
        if self._abandoned:
            return
        if self._waiting and not self.halted and not self.instance.stopping:
            self._running += 1
            self._waiting.popleft().start()
        elif not self._running:
            self.partition.batch_ended(self._unfinished())

    def abandon(self) -> list[tuple[int, str]]:
        """Stop before the next events, and return the unfinished events."""
        self.halted = self._abandoned = True
        return self._unfinished()

    def keep_timed_out(self) -> bool:
        """Return whether events have been kept in place for `hold_seconds`."""
        fleet = self.partition.fleet
        if self._keep_until is None:
            self._keep_until = fleet.world.now + us(fleet.settings.hold_seconds)
        return fleet.world.now >= self._keep_until

    def must_defer(self, lane: Lane, *, exhausted: bool) -> bool:
        """Return whether the key of a failing event steps aside after this attempt.

        The key steps aside if the partition's time in place is used up, if nothing else keeps the
        batch from ending, or if a probe has failed.
        """
        if lane.key == KEYLESS or self._abandoned or not self.partition.fleet.deferring:
            return False
        if lane.probes:
            return exhausted
        alone = self._running == 1 and not self._waiting
        return self.partition.time_in_place.used_up(lane.failing_since) or alone

    def defer(self, lane: Lane) -> None:
        """Let a lane's key step aside, with the events that the batch holds of the key."""
        self.partition.defer(lane.key, lane.events)
        lane.events = deque()
        self.ended(lane)

    def _unfinished(self) -> list[tuple[int, str]]:
        return sorted((number, lane.key) for lane in self.lanes for number in lane.events)
