"""The chaos plan, a pure function of seed and number of events, so that a failure is reproducible.

The plan has the shape of the run (partitions, hosts, keys), the faults of the events (a hot key,
slow and hanging handlers, poison) and the faults of the stack. Each fault of the stack starts after
a given number of handled events. The plan does not control how the processes interleave, so that a
seed reproduces the faults, but not the exact timing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

LEAST_KINDS, MOST_KINDS = 5, 8
MOST_KILLS = 3
"""The most kills of all hosts; a supervisor gives up on an instance that ends too often."""

MOST_DEATHS = 5
"""The most deaths until the app poisons the event that causes them, if nothing else dies."""

_EARLIEST, _LATEST = 0.03, 0.85


class FaultKind(StrEnum):
    """The faults of the stack."""

    HOST_KILLED = "host killed"
    HOST_TERMINATED = "host terminated"
    HOST_ADDED = "host added"
    LINKS_DETACHED = "receiver links detached"
    CONNECTIONS_CUT = "connections cut"
    HUB_BUSY = "event hub busy"
    HUB_PAUSED = "event hub paused"
    EVENTS_REDELIVERED = "events redelivered"
    CHECKPOINTS_LOST = "checkpoints lost"
    REDIS_RESTARTED = "Redis restarted"
    REDIS_PAUSED = "Redis paused"
    STORAGE_RESTARTED = "storage restarted"
    STORAGE_PAUSED = "storage paused"
    TOPIC_DOWN = "Event Grid topic down"
    OUTAGE = "downstream outage"
    REDIS_FILLED = "Redis full"
    REDIS_EMPTIED = "Redis emptied"
    HUB_RECREATED = "event hub recreated"
    EXPIRED_WHILE_STOPPED = "events expired while the app was stopped"
    EXPIRED_WHILE_ISOLATED = "events expired while the circuit was isolated"
    CLOCK_SET_BACK = "broker's clock set back"
    REDIS_FAILED_OVER = "Redis failed over"
    REDIS_WITHOUT_REPLICA = "Redis without replica"
    REDIS_MUTED = "Redis connections muted"


DRAWN = tuple(FaultKind)[: tuple(FaultKind).index(FaultKind.OUTAGE) + 1]
"""The faults that `draw` chooses from; the others belong to one scenario each."""


LASTING: dict[FaultKind, tuple[float, float]] = {
    FaultKind.HUB_BUSY: (2.0, 5.0),
    FaultKind.HUB_PAUSED: (1.0, 3.0),
    FaultKind.REDIS_PAUSED: (1.0, 4.0),
    FaultKind.STORAGE_PAUSED: (2.0, 6.0),
    FaultKind.TOPIC_DOWN: (3.0, 8.0),
    FaultKind.REDIS_FILLED: (5.0, 10.0),
}
"""The least and most seconds of a fault; an outage lasts until the operator has approved."""

KILLS = frozenset({FaultKind.HOST_KILLED, FaultKind.CHECKPOINTS_LOST})
"""The faults that kill a host with SIGKILL; only a new owner reads a checkpoint."""


REDIS_AWAY = frozenset(
    {
        FaultKind.REDIS_RESTARTED,
        FaultKind.REDIS_PAUSED,
        FaultKind.REDIS_FILLED,
        FaultKind.REDIS_FAILED_OVER,
        FaultKind.REDIS_WITHOUT_REPLICA,
        FaultKind.REDIS_MUTED,
    }
)
"""The faults in which Redis does not answer, or takes no writes."""

_REPEATS = {
    FaultKind.HOST_KILLED: 2,  # again when the restarted host takes the partitions back
    FaultKind.CHECKPOINTS_LOST: 2,
    FaultKind.HOST_TERMINATED: 1,
    FaultKind.HOST_ADDED: 1,
    FaultKind.REDIS_RESTARTED: 1,
    FaultKind.REDIS_PAUSED: 3,  # a call that times out and its retry may both be executed
    FaultKind.REDIS_FILLED: 3,
    FaultKind.REDIS_FAILED_OVER: 3,
    FaultKind.REDIS_WITHOUT_REPLICA: 3,
    FaultKind.REDIS_MUTED: 3,
    FaultKind.STORAGE_RESTARTED: 1,  # the leases expire
    FaultKind.STORAGE_PAUSED: 1,
    FaultKind.EXPIRED_WHILE_STOPPED: 1,  # the app starts again
}
"""The number of times that a fault can interrupt each lane between handling an event and recording
its progress. Reasons are a killed process, a new owner of the partition, or a lost Redis response.
"""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault.

    Attributes:
        after_handled: the number of handled events at which the fault starts.
        seconds: the duration; 0 for a fault without duration.
        choice: a number from 0 to 1 that selects the instance or the variant of the fault.
        after_refused: the number of calls that the downstream has refused at which the fault
            starts instead; 0 for a fault that starts after handled events.
        delay_seconds: the time from that moment until the fault starts.
    """

    kind: FaultKind
    after_handled: int
    seconds: float = 0.0
    choice: float = 0.0
    after_refused: int = 0
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ChaosPlan:
    """The shape and the faults of a run.

    Attributes:
        hot_key: whether the first key has half of all events.
        poison_every, slow_every, hang_every: one such event in this many, at random; 0 for none.
        faults: the faults of the stack, in the order in which they start.
        approves_early: whether the operator approves the first opening while the downstream is
            still away.
        starts: the number of times that the app starts; only counted in plans with few faults.
        down: the indices of the keys whose dependency is away, in a partial outage.
        down_seconds: the duration of a partial outage.
        dependencies: the names of the dependencies that the keys need in turn; empty for none.
        away: the dependency that is away for `down_seconds`; "" for none.
        probes_fail: whether that dependency is still away at the first probes.
        deadly: the fault of the one event that ends its process; "" without such an event.
        blocks: the number of events whose handler blocks the event loop.
        parks: whether a poison event parks its key.
        holds: the numbers of sent events at which the sender waits until a fault lets it continue.
        same_size: whether all events have the same size, so that equal numbers of them have the
            same offset in a hub and in its successor.
        hit: the pipeline whose downstream is away, and which an operator acts on; "" without one.
        isolates: whether an operator isolates that pipeline before the outage.
        other_parks: whether a poison event parks its key in the other pipeline.
        list_events: the most events of a list, for a handler of lists; 0 for one of events.
    """

    seed: int
    partitions: int
    instances: int
    keys: int
    faults: tuple[PlannedFault, ...]
    hot_key: bool = False
    poison_every: int = 0
    slow_every: int = 0
    hang_every: int = 0
    approves_early: bool = False
    starts: int = 0
    down: tuple[int, ...] = ()
    down_seconds: float = 0.0
    dependencies: tuple[str, ...] = ()
    away: str = ""
    probes_fail: bool = False
    deadly: str = ""
    blocks: int = 0
    parks: bool = False
    holds: tuple[int, ...] = ()
    same_size: bool = False
    hit: str = ""
    isolates: bool = False
    other_parks: bool = False
    list_events: int = 0

    @property
    def kinds(self) -> frozenset[FaultKind]:
        """The kinds of the faults."""
        return frozenset(fault.kind for fault in self.faults)

    @property
    def outages(self) -> list[int]:
        """The number of handled events at which each outage of the downstream starts."""
        return [each.after_handled for each in self.faults if each.kind is FaultKind.OUTAGE]

    @property
    def kills(self) -> int:
        """The number of hosts killed with SIGKILL."""
        return sum(fault.kind in KILLS for fault in self.faults)

    def most_repeats(self, max_lanes: int, list_events: int = 0) -> int:
        """Return the most events that may reach the handler again after they were handled.

        At each interruption every running lane may have a handled event without recorded progress.
        There is at most one lane per key, and `max_lanes` per partition. At a start of several
        hosts the last host takes partitions from the first. A deadly event kills a host as often
        as the app runs the event.

        With a handler of lists each partition may also have a list that runs, and one whose
        progress is being recorded.

        Args:
            max_lanes: the most lanes of a partition.
            list_events: the most events of a list; 0 for a handler of events.
        """
        lanes = min(self.keys, max_lanes * self.partitions) + 2 * list_events * self.partitions
        shares = self.starts if self.instances > 1 else 0
        kills = _REPEATS[FaultKind.HOST_KILLED]
        shares += (self.most_deaths or 0) * kills
        return lanes * (shares + sum(_REPEATS.get(fault.kind, 0) for fault in self.faults))

    @property
    def most_deaths(self) -> int | None:
        """The most calls with the deadly event until the app poisons it; None without one.

        A host that is killed or terminated while it runs the event alone may hide a death. A
        process that stands still loses its partitions before the watchdog ends it, so that the
        next owner may run the event at the same time: once before careful mode, and once in it.
        """
        overlap = 2 if self.deadly == "seize" else 0
        return MOST_DEATHS + len(self.faults) + overlap if self.deadly else None


def draw(seed: int, events: int) -> ChaosPlan:
    """Return the plan of one run of `events` events."""
    dice = random.Random(f"breakwater/{seed}")  # noqa: S311 - not a secret, must be reproducible
    partitions, instances, keys = dice.randint(4, 16), dice.randint(1, 3), dice.randint(40, 120)
    hot_key = dice.random() < 0.5
    poison_every = dice.choice((0, 500, 1000))
    slow_every = dice.choice((0, 50, 200))
    hang_every = dice.choice((0, 2000, 5000))
    kinds = dice.sample(DRAWN, dice.randint(LEAST_KINDS, MOST_KINDS))
    # Repeat two kinds, so that the second fault hits the state that the first has left.
    kinds += dice.sample([kind for kind in kinds if kind is not FaultKind.OUTAGE], 2)
    faults = sorted(
        (_fault(dice, kind, events) for kind in _without_excess(kinds)),
        key=lambda fault: fault.after_handled,
    )
    return ChaosPlan(
        seed=seed,
        partitions=partitions,
        instances=instances,
        keys=keys,
        hot_key=hot_key,
        poison_every=poison_every,
        slow_every=slow_every,
        hang_every=hang_every,
        faults=tuple(faults),
    )


def _without_excess(kinds: list[FaultKind]) -> list[FaultKind]:
    kept: list[FaultKind] = []
    for kind in kinds:
        if kind not in KILLS or sum(each in KILLS for each in kept) < MOST_KILLS:
            kept.append(kind)
    return kept


def _fault(dice: random.Random, kind: FaultKind, events: int) -> PlannedFault:
    # An outage needs later traffic, which fails often enough to open the circuit.
    latest = 0.6 if kind is FaultKind.OUTAGE else _LATEST
    moment = int(events * dice.uniform(_EARLIEST, latest))
    least, most = LASTING.get(kind, (0.0, 0.0))
    return PlannedFault(kind, moment, round(dice.uniform(least, most), 1), round(dice.random(), 3))
