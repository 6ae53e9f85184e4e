"""The plan of faults: a pure function of seed and number of events, so that a failure reproduces.

What is drawn is the shape of the run (partitions, hosts, keys), what is wrong with the events (a
hot key, slow and hanging handlers, poison) and what is done to the stack, each at the moment when
so many events have been handled. How the processes then interleave is not drawn: a seed reproduces
what was done, not each millisecond of what came of it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

LEAST_KINDS, MOST_KINDS = 5, 8
MOST_KILLS = 3
"""Of all hosts together: their supervisor gives up an instance that ends too often in a minute."""

_EARLIEST, _LATEST = 0.03, 0.85


class FaultKind(StrEnum):
    """What is done to the stack."""

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


LASTING: dict[FaultKind, tuple[float, float]] = {
    FaultKind.HUB_BUSY: (2.0, 5.0),
    FaultKind.HUB_PAUSED: (1.0, 3.0),
    FaultKind.REDIS_PAUSED: (1.0, 4.0),
    FaultKind.STORAGE_PAUSED: (2.0, 6.0),
    FaultKind.TOPIC_DOWN: (3.0, 8.0),
}
"""Least and most seconds; an outage lasts until the operator has approved."""

KILLS = frozenset({FaultKind.HOST_KILLED, FaultKind.CHECKPOINTS_LOST})
"""Faults that kill a host with -9: of a lost checkpoint only a new owner takes notice."""


_REPEATS = {
    FaultKind.HOST_KILLED: 2,  # once more when the partitions go back to its successor
    FaultKind.CHECKPOINTS_LOST: 2,
    FaultKind.HOST_TERMINATED: 1,
    FaultKind.HOST_ADDED: 1,
    FaultKind.REDIS_RESTARTED: 1,
    FaultKind.REDIS_PAUSED: 3,  # a call that is given up and repeated is carried out both times
    FaultKind.STORAGE_RESTARTED: 1,  # leases run out meanwhile
    FaultKind.STORAGE_PAUSED: 1,
}
"""How often a fault can cut off each lane's event between its end and the note of it: by killing
the process, by giving its partition to another one, or by losing Redis's answer.
"""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault.

    Attributes:
        after_handled: done as soon as so many events have been handled.
        seconds: how long it lasts; 0 for what happens in a moment.
        choice: from 0 to 1, which of several instances it hits, or how (politely or not).
    """

    kind: FaultKind
    after_handled: int
    seconds: float = 0.0
    choice: float = 0.0


@dataclass(frozen=True, slots=True)
class ChaosPlan:
    """Everything that a seed decides.

    Attributes:
        hot_key: whether the first key has half of all events.
        poison_every, slow_every, hang_every: one event in so many, at random places; 0 for none.
        faults: in the order of their moments.
    """

    seed: int
    partitions: int
    instances: int
    keys: int
    hot_key: bool
    poison_every: int
    slow_every: int
    hang_every: int
    faults: tuple[PlannedFault, ...]

    @property
    def kinds(self) -> frozenset[FaultKind]:
        """The different kinds of faults."""
        return frozenset(fault.kind for fault in self.faults)

    @property
    def kills(self) -> int:
        """How many hosts are killed with -9."""
        return sum(fault.kind in KILLS for fault in self.faults)

    def most_repeats(self, max_lanes: int) -> int:
        """The most events that may reach the handler again after they were handled.

        Each time that something is killed or cut off, every running lane may have an event whose
        end was not noted yet: one lane for each key, `max_lanes` for each partition.
        """
        lanes = min(self.keys, max_lanes * self.partitions)
        return lanes * sum(_REPEATS.get(fault.kind, 0) for fault in self.faults)


def draw(seed: int, events: int) -> ChaosPlan:
    """The plan of one run of so many events."""
    dice = random.Random(f"breakwater/{seed}")  # noqa: S311 - no secret: it must repeat itself
    partitions, instances, keys = dice.randint(4, 16), dice.randint(1, 3), dice.randint(40, 120)
    hot_key = dice.random() < 0.5
    poison_every = dice.choice((0, 500, 1000))
    slow_every = dice.choice((0, 50, 200))
    hang_every = dice.choice((0, 2000, 5000))
    kinds = dice.sample(list(FaultKind), dice.randint(LEAST_KINDS, MOST_KINDS))
    # Some kinds come again: the second of a kind meets what the first has left behind.
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
    # An outage needs traffic behind it, or it would not bring enough failures to be noticed.
    latest = 0.6 if kind is FaultKind.OUTAGE else _LATEST
    moment = int(events * dice.uniform(_EARLIEST, latest))
    least, most = LASTING.get(kind, (0.0, 0.0))
    return PlannedFault(kind, moment, round(dice.uniform(least, most), 1), round(dice.random(), 3))
