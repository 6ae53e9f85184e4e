"""The model's Redis: the real memory stores, with a lagging replica, outages and loss of data."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import copy
from random import Random
from typing import Any

from processing.errors import ProcessingError, StorageUnavailableError
from processing.event import Event
from processing.identity import Source
from processing.parking.event import ListKey, Position, position_of
from processing.parking.memory import MemoryParkingStore, _List
from processing.parking.store import Lease, ParkingStore
from processing.progress.memory import MemoryProgressStore
from processing.progress.store import Progress, ProgressStore

START = 1_800_000_000.0
"""The time at the beginning of a run, in seconds since 1970."""
CONFIRMED = frozenset({"poison", "park", "defer", "finish", "replace", "postpone"})
"""The writes that the replicas must confirm."""
CONFIRM_SECONDS = 1.0

type Snapshot = tuple[dict[str, Any], dict[str, Any]]


class ModelProgressStore(MemoryProgressStore):
    """The real memory store, of which the model can see the finished events."""

    def is_finished(self, event: Event) -> bool:
        """Return whether the progress says that the event is finished."""
        return bool(self._known.get(event.source, Progress()).finished_among([event]))


class ModelParkingStore(MemoryParkingStore):
    """The real memory store, of which the model can see the lists.

    Attributes:
        finished_late: called after a finish by a replay from before the latest rewind, with the
            partition and the position.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.finished_late: Callable[[Source, Position], None] = lambda _source, _position: None
        self._leased_in: dict[str, int] = {}

    async def lease(
        self, source: Source, key: ListKey, token: str, milliseconds: int
    ) -> Lease | None:
        """See `ParkingStore.lease`."""
        lease = await super().lease(source, key, token, milliseconds)
        if lease is not None:
            self._leased_in[token] = lease.epoch
        return lease

    async def finish(
        self,
        source: Source,
        key: ListKey,
        token: str,
        position: Position,
        verdict: str = "",
        *,
        epoch: int = 0,
    ) -> int:
        """See `ParkingStore.finish`."""
        left = await super().finish(source, key, token, position, verdict, epoch=epoch)
        if self._leased_in.get(token, 0) < self.progress.epoch(source):
            self.finished_late(source, position)
        return left

    def holds(self, event: Event, key: ListKey) -> bool:
        """Return whether an event is in a list."""
        parked = self._lists.get((event.source, key))
        return parked is not None and position_of(event) in parked.entries

    def lists(self) -> list[str]:
        """Return the names of all lists."""
        return [f"{source}: {key}" for source, key in self._lists]


class Service:
    """A server that can be down, and that may execute requests late.

    Attributes:
        jumped: seconds by which the server's clock has jumped.
        losses: number of times that the server has lost data.
        changed: whether data may have changed since the replica's last copy.
    """

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.jumped = 0.0
        self.losses = 0
        self.changed = False
        self.term = 0
        self._down_until = 0.0
        self._late: set[asyncio.Task[None]] = set()

    def check(self) -> None:
        """Raise `StorageUnavailableError` while the server is down."""
        if asyncio.get_running_loop().time() < self._down_until:
            raise StorageUnavailableError("Redis does not answer")

    def go_down(self, seconds: float) -> None:
        """Answer nobody for some time."""
        until = asyncio.get_running_loop().time() + seconds
        self._down_until = max(self._down_until, until)

    def heal(self) -> None:
        """Answer again."""
        self._down_until = 0.0

    async def confirm(self) -> None:
        """Return once the replicas have all writes until now."""

    def execute_late(self, call: Callable[[], Awaitable[Any]], seconds: float) -> None:
        """Execute a request later, if the server still has its connection."""
        task = asyncio.get_running_loop().create_task(self._execute(call, seconds, self.term))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _execute(self, call: Callable[[], Awaitable[Any]], seconds: float, term: int) -> None:
        await asyncio.sleep(seconds)
        if term == self.term:
            with suppress(ProcessingError):  # nobody gets the answer
                await call()
                self.changed = True


class Cluster(Service, ABC):
    """A Redis, as the model sees it.

    Attributes:
        start: the time at the beginning of the run, in seconds since 1970.
    """

    progress: ProgressStore
    parking: ParkingStore
    start = START

    @abstractmethod
    def owner(self, source: Source) -> int:
        """Return the token of a partition's latest owner."""

    @abstractmethod
    def is_finished(self, event: Event) -> bool:
        """Return whether the progress says that the event is finished."""

    @abstractmethod
    def holds(self, event: Event, key: ListKey) -> bool:
        """Return whether an event is in a list."""

    @abstractmethod
    def lists(self) -> list[str]:
        """Return the names of all lists."""

    @abstractmethod
    def lose_data(self) -> None:
        """Lose all data."""

    def expire_leases(self) -> None:
        """Let all leases end."""

    def fail_over(self) -> None:
        """Continue with the replica's state."""

    async def replicate(self) -> None:
        """Let the replica take over the state again and again."""


class MemoryCluster(Cluster):
    """The memory stores, with at most one replica.

    The replica takes over the primary's state from time to time. `confirm` is what WAIT does: it
    returns once the replica has all writes until now.

    Args:
        rng: draws when the replica takes over the state.
        parking: the type of the parking store.
        limits: the limits of the parking store.
        replicas: number of replicas that must confirm a write.
        lag: longest time between two takeovers; 0: there is no replica.
    """

    def __init__(
        self,
        rng: Random,
        parking: type[ModelParkingStore],
        limits: dict[str, int],
        *,
        replicas: int,
        lag: float,
    ) -> None:
        super().__init__(rng)
        self._replicas = replicas
        self._lag = lag
        self._synced = asyncio.Event()
        self.progress: ModelProgressStore = ModelProgressStore(lambda: int(self.now() * 1000))
        self.parking: ModelParkingStore = parking(self.progress, clock=self.now, **limits)
        self._replica = self._snapshot()

    def now(self) -> float:
        """Return Redis's time in seconds since 1970."""
        return START + asyncio.get_running_loop().time() + self.jumped

    def owner(self, source: Source) -> int:
        """See `Cluster.owner`."""
        return self.progress.owner(source)

    def is_finished(self, event: Event) -> bool:
        """See `Cluster.is_finished`."""
        return self.progress.is_finished(event)

    def holds(self, event: Event, key: ListKey) -> bool:
        """See `Cluster.holds`."""
        return self.parking.holds(event, key)

    def lists(self) -> list[str]:
        """See `Cluster.lists`."""
        return self.parking.lists()

    async def confirm(self) -> None:
        """Return once the replica has all writes until now.

        Raises:
            StorageUnavailableError: the replica did not take them over in time.
        """
        if not self._replicas:
            return
        term = self.term
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                await self._synced.wait()
        except TimeoutError:
            raise StorageUnavailableError("too few replicas confirmed the write") from None
        if term != self.term:
            raise StorageUnavailableError("the connection was lost")

    async def replicate(self) -> None:
        """See `Cluster.replicate`."""
        while self._lag:
            await asyncio.sleep(self.rng.random() * self._lag)
            if self.changed:
                self._replica, self.changed = self._snapshot(), False
            self._end_waits()

    def fail_over(self) -> None:
        """See `Cluster.fail_over`."""
        self._end_connections()
        stores = self.parking, self.progress
        for store, known in zip(stores, self._replica, strict=True):
            vars(store).update(_copied(known))

    def lose_data(self) -> None:
        """Lose all data, the replica's included."""
        self._end_connections()
        self.progress.clear()
        self.parking.clear()
        self._replica = self._snapshot()

    def _end_connections(self) -> None:
        self.losses += 1
        self.term += 1
        self._end_waits()
        self.go_down(self.rng.random() * 3)

    def _end_waits(self) -> None:
        synced, self._synced = self._synced, asyncio.Event()
        synced.set()

    def _snapshot(self) -> Snapshot:
        return _copied(vars(self.parking)), _copied(vars(self.progress))


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a store's data: its dictionaries and sets."""
    found = {name: copy(value) for name, value in state.items() if isinstance(value, dict | set)}
    lists = found.get("_lists")
    if isinstance(lists, dict):
        found["_lists"] = {
            place: _List(each.since, dict(each.entries), each.deferral, each.due)
            for place, each in lists.items()
        }
    return found
