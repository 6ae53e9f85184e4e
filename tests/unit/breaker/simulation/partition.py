"""A simulated partition: its backlog, the batch that runs, and its deferred keys."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from breaker import Key
from tests.unit.breaker.simulation.batch import Batch
from tests.unit.breaker.simulation.downstream import KEYLESS
from tests.unit.breaker.simulation.replay import Deferred
from tests.unit.breaker.simulation.world import SECOND, World, us

if TYPE_CHECKING:
    from tests.unit.breaker.simulation.fleet import Fleet
    from tests.unit.breaker.simulation.instance import Instance
    from tests.unit.breaker.simulation.stream import Stream

_RECEIVE_US = 10_000
"""From an event's arrival to the start of its batch."""
_GATHER_US = SECOND // 4
"""Least time in which the events of a stream gather for a batch; fewer batches cost less time."""
_HOST_RETRY_US = 5 * SECOND
_DEFER_AFTER_US = 10 * SECOND
_MINUTE_US = 60 * SECOND


class TimeInPlace:
    """The time of each minute in which a partition waits for failing events in place."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._minute_ends = 0
        self._counted_until = 0
        self._us = 0

    def used_up(self, failing_since: int | None) -> bool:
        """Add the time of a failing event, once for events that fail at the same time.

        Return whether the minute's time is used up.
        """
        now = self._world.now
        if now >= self._minute_ends:
            self._minute_ends = now + _MINUTE_US
            self._us = 0
        since = now if failing_since is None else failing_since
        self._us += now - max(since, self._counted_until)
        self._counted_until = now
        return self._us >= _DEFER_AFTER_US


class Partition:
    """The backlog of one partition, and the batch that its owner runs.

    Attributes:
        owner: the instance that runs the partition's batches; None while no instance does.
        deferred: the keys that have stepped aside.
    """

    def __init__(self, fleet: Fleet, name: str, owner: Instance) -> None:
        self.fleet = fleet
        self.name = name
        self.owner: Instance | None = owner
        self.deferred: dict[str, Deferred] = {}
        self.time_in_place = TimeInPlace(fleet.world)
        self._backlog: deque[tuple[int, str]] = deque()
        self._unfinished: list[tuple[int, str]] = []
        self._stream: Stream | None = None
        self._batch: Batch | None = None
        self._number = 0
        self._arrived = 0
        self._starting = self._expecting = False

    def key(self, key: str) -> Key:
        """Return a key as the breaker sees it; an event without a key has its partition's."""
        return Key(f"partition {self.name}", several=True) if key == KEYLESS else Key(key)

    def arrive(self, key: str) -> None:
        """Add an event of a key to the backlog."""
        self._number += 1
        self._backlog.append((self._number, key))
        self._start_soon(_RECEIVE_US)

    def flow(self, stream: Stream) -> None:
        """Let a stream of healthy events arrive."""
        self._stream = stream
        self._start_next()

    def move(self, owner: Instance | None) -> None:
        """Give the partition to another instance; unfinished events run again there."""
        self.owner = owner
        for key, deferred in self.deferred.items():
            if owner is not None:
                owner.defer(self.key(key), deferred.since)
        batch, self._batch = self._batch, None
        if batch is not None:
            self._unfinished = batch.abandon()
        self._start_next()

    def batch_ended(self, unfinished: list[tuple[int, str]]) -> None:
        """Start the next batch, or the same batch again if it has unfinished events."""
        self._batch = None
        self._unfinished = unfinished
        if unfinished:
            self._start_soon(_HOST_RETRY_US)
        else:
            self._start_next()

    def defer(self, key: str, events: deque[int]) -> None:
        """Let a key step aside, with events that are older than any other of the key."""
        self.deferred[key] = Deferred(self, key, events)

    def _start_soon(self, delay_us: int) -> None:
        if self._batch is None and not self._starting and self.owner is not None:
            self._starting = True
            self.fleet.world.after(delay_us, self._start)

    def _start(self) -> None:
        self._starting = False
        if self._batch is not None or self.owner is None or self.owner.stopping:
            return
        events, self._unfinished = self._unfinished, []
        if not events:
            count = min(len(self._backlog), self.fleet.batch_size)
            events = [self._backlog.popleft() for _ in range(count)]
        lanes: dict[str, deque[int]] = {}
        for number, key in events:
            if key in self.deferred:
                self.deferred[key].events.append(number)
            else:
                lanes.setdefault(key, deque()).append(number)
        batch = Batch(self, self.owner, lanes)
        if self._stream is not None:
            arrived, self._arrived = self._arrived, 0
            batch.add(self._stream, arrived)
        if batch.lanes:
            self._batch = batch
            batch.start()
        else:
            self._start_next()

    def _start_next(self) -> None:
        """Start a batch of what has arrived; else wait for the stream's next event."""
        if self._unfinished or self._backlog:
            self._start_soon(_RECEIVE_US)
        elif self._stream is not None and not self._expecting:
            world = self.fleet.world
            wait = self._stream.until_next(world.seconds, world.rng)
            if wait is not None:
                self._expecting = True
                world.after(max(_GATHER_US, us(wait)), self._stream_arrives)

    def _stream_arrives(self) -> None:
        self._expecting = False
        self._arrived += 1
        self._start_soon(_RECEIVE_US)
