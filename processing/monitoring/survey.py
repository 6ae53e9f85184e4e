"""The survey of all partitions: their lag, and the state of each partition in the fleet.

An instance watches the events that it has received. The survey adds the partitions that no instance
continues: a crash loop, an event that the platform cannot hand over, and keys that stay deferred
although their dependency serves other keys.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from breaker import Circuit
from processing.errors import StorageUnavailableError
from processing.identity import Identity
from processing.monitoring.clock_steps import clock_warnings
from processing.monitoring.dependency_states import (
    Circuits,
    DependencyState,
    WaitingKeys,
    dependency_states,
)
from processing.monitoring.expired import expired_problems
from processing.monitoring.fleet import FleetStates
from processing.monitoring.moved_warning import MovedWarning
from processing.monitoring.partition_state import GRAVITY, PartitionState, State
from processing.monitoring.reasons import HOLDING, Why
from processing.monitoring.stall import Held
from processing.monitoring.verdicts import deferred_state, judged
from processing.parking.store import ParkedKey, ParkingStore
from processing.partitions.hub_changes import HubChange, HubChanges
from processing.partitions.hub_created import HubCreated
from processing.partitions.lag import LagReader, PartitionLag, ReadCheckpoint

DEFERRED_SECONDS = 600.0
"""Time after which a deferred key is reported if its dependency serves other keys."""
REPLAYS_SECONDS = 60.0
"""Age of the last run of the timer of the replays at which the timer counts as stopped."""
KEYS_SECONDS = 60.0
"""Least time between two listings of all keys; listing ten thousand keys takes a second."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """The result of one survey.

    Attributes:
        partitions: the lag of all partitions.
        states: the states other than `ok`, at most one for each partition and one for each
            partition's deferred keys.
        problems: one text for each further problem.
        dependencies: the states of the app's dependencies, by name.
        replays_stopped: deferred keys wait, and the timer of the replays has not run for a minute.
        losses: one text for each partition of which events have expired in the last 24 hours.
        changes: the changes of the hub, the latest change first.
        warnings: one text for each change that operators should know of.
    """

    partitions: tuple[PartitionLag, ...]
    states: tuple[PartitionState, ...]
    problems: tuple[str, ...] = ()
    dependencies: tuple[DependencyState, ...] = ()
    replays_stopped: bool = False
    losses: tuple[str, ...] = ()
    changes: tuple[HubChange, ...] = ()
    warnings: tuple[str, ...] = ()

    def state_of(self, partition: str) -> PartitionState | None:
        """Return the worst state of a partition; None: the partition is `ok`."""
        return worst(each for each in self.states if each.partition == partition)


class Survey:
    """A reader of the lag and the states of all partitions.

    Args:
        lag: reads the lag.
        fleet: the states that instances report.
        parking: the parked lists.
        identity: the app.
        stall_seconds: time after which a partition that does not move is stalled.
        held: returns the reason for which no event starts.
        circuit: returns the app's circuit.
        dependencies: returns the circuits of the app's dependencies.
        checkpoint: returns a partition's checkpoint; None: there is none.
        from_start: whether a partition without a checkpoint is read from its first event.
        replays: returns the age of the last run of the timer of the replays, or None if there was
            no run in a day.
        created: the hub's time of creation, which the reading of the lag notes.
        changes: stores the hub's changes.
        now_ms: returns the time in milliseconds since 1970.
    """

    def __init__(
        self,
        lag: LagReader,
        fleet: FleetStates,
        parking: ParkingStore,
        identity: Identity,
        *,
        stall_seconds: float,
        held: Held,
        circuit: Callable[[], Circuit],
        dependencies: Circuits,
        checkpoint: ReadCheckpoint,
        from_start: bool,
        replays: Callable[[], Awaitable[float | None]],
        created: HubCreated,
        changes: HubChanges,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._lag = lag
        self._fleet = fleet
        self._parking = parking
        self._identity = identity
        self._stall_seconds = stall_seconds
        self._held = held
        self._circuit = circuit
        self._dependencies = dependencies
        self._waiting = WaitingKeys(parking, identity)
        self._checkpoint = checkpoint
        self._from_start = from_start
        self._replays = replays
        self._created = created
        self._changes = changes
        self._moved = MovedWarning(parking)
        self._now_ms = now_ms
        # The deferred keys, and the numbers of the partitions' lists when the keys were read.
        self._keys: list[ParkedKey] = []
        self._keys_of: object = None
        self._keys_until = 0.0  # by the clock of the circuit's store

    async def look(self, own: Sequence[PartitionState] = (), *, instance: str = "") -> Sighting:
        """Survey all partitions; one that cannot be read is a problem and hides no other one.

        Args:
            own: the states of this instance, which are fresher than its last report.
            instance: the name of this instance.

        Raises:
            StorageUnavailableError: the hub or Redis did not answer for any partition.
        """
        reading = await self._lag.read()
        lags = reading.partitions
        held = self._held()
        found = [each for each in await self._fleet.reports() if each.instance != instance]
        reports: defaultdict[str, list[PartitionState]] = defaultdict(list)
        for each in [*found, *own]:
            reports[each.partition].append(each)
        # Time in which a circuit holds a partition does not count; the age starts again afterwards.
        behind = {
            lag.partition: lag.watermark
            for lag in lags
            if lag.recreated
            or (
                lag.behind
                and held not in HOLDING
                and not any(each.state is State.HOLDING for each in reports[lag.partition])
            )
        }
        ages = await self._fleet.observe(behind)
        found_states = [
            judged(
                lag,
                worst(reports[lag.partition]),
                hub=self._identity.hub,
                age=ages.get(lag.partition, 0.0),
                held=held,
                stall_seconds=self._stall_seconds,
            )
            for lag in lags
        ]
        states = [
            state
            for lag, state in zip(lags, found_states, strict=True)
            if state is not None
            and not (state.why is Why.NOT_HANDED_OVER and await self._is_passed(lag))
        ]
        # Only the instances know the states of partitions that could not be read.
        unread = [worst(reports[each]) for each in reading.unread]
        states += [each for each in unread if each is not None]
        states += await self._deferred(lags)
        deferred = sum(each.deferred for each in lags)
        stopped = deferred > 0 and await self._replays_stopped()
        changes = await self._changes.observe(
            self._created.created_ms,
            reading.count,
            recreated=any(each.recreated for each in lags),
        )
        now_ms = self._now_ms()
        moved = await self._moved.text(changes, now_ms)
        return Sighting(
            lags,
            tuple(each for each in states if each.state is not State.OK),
            (*([replays_have_stopped(deferred)] if stopped else []), *reading.problems),
            dependency_states(self._dependencies(), await self._waiting.count(lags)),
            stopped,
            tuple(expired_problems(self._identity.hub, lags, now_ms)),
            tuple(changes),
            (
                *([] if moved is None else [moved]),
                *clock_warnings(self._identity.hub, lags, now_ms),
            ),
        )

    async def _is_passed(self, lag: PartitionLag) -> bool:
        """Return whether the platform will not pass any of the partition's events to the app.

        The progress of an idle partition expires, and the checkpoint remains. A trigger that starts
        at the partition's end has neither before the first new event.
        """
        try:
            checkpoint = await self._checkpoint(lag.partition)
        except (StorageUnavailableError, ValueError):
            return False
        if checkpoint is None:
            return lag.watermark is None and not self._from_start
        last = lag.last_enqueued
        return last is not None and checkpoint.sequence_number >= last

    async def _replays_stopped(self) -> bool:
        age = await self._replays()
        return age is None or age > REPLAYS_SECONDS

    async def _deferred(self, lags: Collection[PartitionLag]) -> list[PartitionState]:
        """Return one state for each partition with keys that stay deferred without a reason.

        A key waits without a reason if its dependency has served other keys since the deferral.
        """
        circuit, dependencies = self._circuit(), self._dependencies()
        now = circuit.as_of
        if now is None or not circuit.admits:
            return []
        limits = {"": _latest(circuit, now)}
        for name, breaker in dependencies.items():
            limits[name] = _latest(breaker.circuit, now)
        latest = max(limits.values())
        if not any(
            each.oldest_deferred is not None and each.oldest_deferred < latest for each in lags
        ):
            return []
        # A listing of many keys is large, so the keys are read again only after a change, and at
        # most once in a while. A key that was deferred since then is not reported yet.
        numbers = [(each.deferred, each.oldest_deferred) for each in lags]
        if numbers != self._keys_of and now >= self._keys_until:
            self._keys = await self._parking.keys()
            self._keys_of, self._keys_until = numbers, now + KEYS_SECONDS
        oldest = {each.partition: each.oldest_deferred for each in lags}
        keys: defaultdict[str, list[tuple[float, ParkedKey]]] = defaultdict(list)
        for key in self._keys:
            first = oldest.get(key.source.partition)  # earlier keys have been released
            if key.deferral is None or first is None:
                continue
            limit = limits.get(key.deferral.dependency, limits[""])
            if first <= key.deferral.since < limit:
                keys[key.source.partition].append((key.deferral.since, key))
        return [
            deferred_state(min(found, key=lambda each: each[0])[1], len(found), now)
            for found in keys.values()
        ]


def _latest(circuit: Circuit, now: float) -> float:
    """Return the time before which a deferred key of a circuit was deferred for too long.

    An open circuit holds its keys; then no time is returned that a key could be older than.
    """
    if not circuit.admits or circuit.last_success_at is None:
        return -math.inf
    return min(now - DEFERRED_SECONDS, circuit.last_success_at)


def replays_have_stopped(deferred: int) -> str:
    """Return the text of the problem that the timer of the replays does not run."""
    return (
        f"the timer function replay_deferred has not run for a minute, and {deferred} deferred "
        "keys wait; keys of partitions without new events are not replayed. Check that the app "
        "runs and that the function is not disabled"
    )


def worst(states: Iterable[PartitionState]) -> PartitionState | None:
    """Return the worst state, and among equal states the longest; None without a state."""
    return max(states, key=lambda each: (GRAVITY[each.state], each.seconds), default=None)
