"""The replayer of one instance: starts the replays of deferred keys that are due."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from processing.deferring.admission import Admission, Need
from processing.deferring.context import ReplayContext
from processing.deferring.heartbeat import Heartbeat
from processing.deferring.parts import Place, ReplayParts, list_name
from processing.deferring.replay import Replay
from processing.deferring.running import DeferredKeys
from processing.deferring.wakings import Wakings
from processing.deferring.writes import UNAVAILABLE, Writes
from processing.errors import LeaseLostError, ShutdownError
from processing.handlers.raised import enter_invocation
from processing.identity import Source
from processing.parking.batch import Parking
from processing.parking.event import ListKey
from processing.parking.store import DUE_KEYS, Claim
from processing.redrive.lease_returns import LeaseReturns

logger = logging.getLogger(__name__)

STEP_SECONDS = 0.25
"""Pause between two looks at the ramp during `run_due`."""


class Replayer:
    """The replayer of one instance.

    A replay starts a further event only while an invocation of the instance runs. No invocation
    waits for the call that a replay makes. docs/adr/0024-deferring.md gives the reasons.

    Args:
        parts: the objects that the instance's lanes use, too.
        parking: the lists, and the claim checks of their large events.
    """

    def __init__(self, parts: ReplayParts, parking: Parking) -> None:
        self._store = parking.store
        self._breaker = parts.breaker
        self._stopping = asyncio.Event()
        self._until: list[float] = []  # each invocation's time after which no event starts
        self._tasks: dict[Place, asyncio.Task[None]] = {}
        self._waiting: dict[Place, None] = {}
        self._unfinished: set[Place] = set()  # places whose turn ended during the timer's run
        self._timer_runs = False
        self._ended = asyncio.Event()
        self._needs: dict[Place, Need | None] = {}  # of the places that run
        dependencies = parts.dependencies
        self._admission = Admission(parts.breaker, parts.settings.max_lanes, dependencies)
        self._keys = DeferredKeys(parts.breaker, self._admission.find)
        self._wakings = Wakings(parking.store, dependencies)
        self._writes = Writes(parts.settings.hold_seconds, self._pause)
        self._returns = LeaseReturns(parking.store)
        self._context = ReplayContext(
            parts,
            parking,
            self._admission,
            self._keys,
            self._writes,
            self._returns,
            self._may_start,
            self._wait_for,
            self._pause,
            out_of_time=self._is_out_of_time,
        )

    @property
    def busy(self) -> bool:
        """Return whether a replay runs."""
        return bool(self._tasks)

    @property
    def writing(self) -> bool:
        """Return whether a write of an event's outcome is in progress."""
        return self._writes.writing

    def start(self, source: Source, keys: Collection[ListKey]) -> None:
        """Start a replay for each key that is not being replayed here.

        At most `Admission.most` replays run; further keys wait for the end of one.
        """
        if not keys or self._stopping.is_set():
            return
        for key in keys:
            if (source, key) not in self._tasks:
                self._waiting[source, key] = None
        self._start_waiting()

    @contextmanager
    def invocation(self, seconds: float = math.inf) -> Iterator[None]:
        """Note that an invocation of this instance runs during the block.

        Args:
            seconds: time for which the invocation starts events.
        """
        until = asyncio.get_running_loop().time() + seconds
        self._until.append(until)
        try:
            yield
        finally:
            self._until.remove(until)
            if not self._until:
                self._waiting.clear()

    def note_claim(self, source: Source, claim: Claim) -> None:
        """Take over the latest deferred keys of a partition, for the standstill rule's reports."""
        self._keys.note_claim(source, claim.latest, claim.latest_needs)

    def note_deferred(
        self, source: Source, key: ListKey, since: float, dependency: str = ""
    ) -> None:
        """Note a key that was deferred now.

        Args:
            source: the partition.
            key: the key.
            since: the answer of `ParkingStore.defer`.
            dependency: name of the dependency that the key waits for; "" if it is not known.
        """
        self._keys.note_deferred(source, key, since, dependency)

    async def wake(self, source: Source) -> None:
        """Make the keys due whose dependency's circuit admits replays again.

        The next claim returns them. Without a change of a circuit the method does no I/O.

        Raises:
            StorageUnavailableError: the store did not answer.
        """
        await self._wakings.ask(source)

    def forget(self, source: Source) -> None:
        """Forget a partition that another instance owns now."""
        self._keys.forget(source)
        for place in [each for each in self._waiting if each[0] == source]:
            del self._waiting[place]

    def stop(self) -> None:
        """Stop starting events, and end all pauses."""
        self._stopping.set()
        self._waiting.clear()
        self._keys.clear()
        self._returns.stop()

    async def wait_idle(self) -> None:
        """Wait until no replay runs."""
        # A task that was cancelled before its first step has ended, but is still in `_tasks`.
        while running := [task for task in self._tasks.values() if not task.done()]:
            await asyncio.wait(running)

    async def run_due(
        self,
        seconds: float,
        heartbeat: Heartbeat | None = None,
        *,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> int:
        """Replay the due keys of all partitions, and return the number of finished events.

        The method returns when no key is due, or after `seconds`. An event in flight then finishes,
        but nobody waits for its end. So a dependency that hangs does not stop the heartbeat.

        Args:
            seconds: longest time for which replays are started.
            heartbeat: receives the time of a successful run.
            prepare: awaited before a replay starts, and not if no key is due.

        Raises:
            StorageUnavailableError: a store did not answer.
            Exception: the error of `prepare`.
        """
        loop = asyncio.get_running_loop()
        deadline, finished = loop.time() + seconds, self._context.finished
        tried: set[Place] = set()
        with self.invocation(), self._timer_running():
            while self._admission.admits and not self._stopping.is_set():
                due = [place for place in await self._due(len(tried)) if place not in tried]
                if due and prepare is not None:
                    await prepare()
                if loop.time() >= deadline or not (due or self._are_busy(tried)):
                    break
                for source, key in due:
                    self.start(source, (key,))
                tried.update(due)
                # A call that hangs must not delay the keys that no look has returned yet.
                await self._settle(tried, deadline, all_of_them=len(due) < DUE_KEYS)
                tried -= self._unfinished
                self._unfinished.clear()
        if heartbeat is not None:
            await heartbeat.beat()
        return self._context.finished - finished

    @contextmanager
    def _timer_running(self) -> Iterator[None]:
        """Note the places whose turn ends during the block."""
        self._timer_runs = True
        try:
            yield
        finally:
            self._timer_runs = False
            self._unfinished.clear()

    async def _due(self, tried: int) -> list[Place]:
        circuit = self._breaker.circuit
        generation = circuit.generation if circuit.admits else 0
        places: list[Place] = []
        for source in await self._store.sources():
            await self._wakings.ask(source)
            keys = await self._store.due(source, most=DUE_KEYS + tried, generation=generation)
            places += [(source, key) for key in keys]
        return places

    def _are_busy(self, places: Collection[Place]) -> bool:
        return any(place in self._tasks or place in self._waiting for place in places)

    async def _settle(
        self, places: Collection[Place], deadline: float, *, all_of_them: bool
    ) -> None:
        """Wait until no place waits and another replay may start, or until the deadline.

        Args:
            places: the places.
            deadline: the time at which the waiting ends.
            all_of_them: whether to wait until no place runs, either, or has ended with its turn.
        """
        loop = asyncio.get_running_loop()
        while self._are_busy(places):
            free = not self._waiting and len(self._tasks) < self._admission.most
            if free and (self._unfinished or not all_of_them):
                return
            if (remaining := deadline - loop.time()) <= 0 or self._stopping.is_set():
                return
            self._ended.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), min(remaining, STEP_SECONDS))
            if not self._admission.admits:
                return
            self._start_waiting()  # the ramp may admit more replays now

    def _start_waiting(self) -> None:
        while self._waiting and len(self._tasks) < self._admission.most:
            place = next(iter(self._waiting))
            del self._waiting[place]
            self._tasks[place] = asyncio.create_task(self._replay(place))

    def _may_start(self, place: Place) -> bool:
        """Return whether a place's replay may start a further event."""
        if self._stopping.is_set() or not self._until:
            return False
        most = self._admission.most
        # In a ramp the replays that began first continue.
        return most >= self._admission.limit or place in list(self._tasks)[:most]

    def _wait_for(self, place: Place, need: Need | None) -> bool:
        """Note what a place waits for; return whether the dependency's ramp admits the place."""
        self._needs[place] = need
        if need is None or need.breaker.ramp_share >= 1:
            return True
        same = [each for each in self._tasks if self._needs.get(each) == need]
        return place in same[: self._admission.most_of(need)]

    def _is_out_of_time(self) -> bool:
        """Return whether invocations run, and all of them have used up their time.

        Between two invocations a replay may make the further attempts of its event.
        """
        return bool(self._until) and max(self._until) <= asyncio.get_running_loop().time()

    async def _replay(self, place: Place) -> None:
        enter_invocation()  # a handler that cancels its own task cancels the inner task only
        try:
            more = await asyncio.create_task(Replay(self._context, place).run())
            if more and self._timer_runs:
                self._unfinished.add(place)
        except ShutdownError:
            pass
        except LeaseLostError as error:
            logger.warning("The replay of %s ended: %s", list_name(place), error)
        except UNAVAILABLE as error:
            logger.warning(
                "The replay of %s ended: %s: %s; the key stays deferred",
                *(list_name(place), type(error).__name__, error),
            )
        except Exception:
            logger.exception("The replay of %s failed; the key stays deferred", list_name(place))
        finally:
            del self._tasks[place]
            self._needs.pop(place, None)
            self._ended.set()
            if self._until:
                self._start_waiting()

    async def _pause(self, seconds: float) -> None:
        """Sleep until the time is over.

        Raises:
            ShutdownError: the instance is shutting down.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        if self._stopping.is_set():
            raise ShutdownError("the instance is shutting down; the deferred event stays deferred")
