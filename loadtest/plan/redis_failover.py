"""The plans of `readonly-failover`, `no-replicas` and `muted`, pure functions of the seed.

Redis has a replica, both have one address, and parked events wait for the replica's confirmation.
In `readonly-failover` the replica takes over and later hands back, while open connections stay at
the old primary, which refuses writes; in some seeds they are muted or reset instead. In
`no-replicas` the replica is gone for a while, so that the primary refuses writes. In `muted` the
open connections are never answered again, although nobody closes them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import StrEnum

from loadtest.plan.chaos import ChaosPlan, FaultKind, PlannedFault

MOST_SECONDS = 10.0
"""The longest time after a fault's end for which an instance may be degraded, or a partition with
events may stand still."""
NOTICE_SECONDS = 8.0
"""The time within which the health of each instance must name why Redis takes no writes.

An instance polls Redis twice a second; the rest is room for a busy machine.
"""

_LONG, _SHORT = (9.5, 12.0), (0.0, 1.5)
"""The duration of faults that health must name, and of others."""
_STAYS, _MUTES = 0.4, 0.7
"""The choices below which open connections stay, or are muted; otherwise they are cut."""
_GRACE_SHARE = 0.5
"""The share of the runs of `no-replicas` in which the grace time ends before the fault does."""
_HOLDS_AT = {2: (0.15, 0.55), 3: (0.1, 0.4, 0.7)}
"""The shares of the events at which the sender waits for each fault, by the number of faults."""
_HANDLED_PERCENT = 60
"""The share of the events sent until then that must be handled; parked events never are."""


class OpenConnections(StrEnum):
    """The fate of the open connections when the address leads to another server."""

    STAY = "stay at the old server"
    MUTED = "are muted"
    CUT = "are cut"

    @classmethod
    def of(cls, choice: float) -> OpenConnections:
        """Return the fate that a fault has drawn."""
        return cls.STAY if choice < _STAYS else cls.MUTED if choice < _MUTES else cls.CUT


def draw_readonly_failover(seed: int, events: int) -> ChaosPlan:
    """Return a plan of a failover and one back.

    One of them takes long enough to be named, and in one the open connections stay.
    """
    dice = random.Random(f"breakwater/readonly-failover/{seed}")  # noqa: S311 - reproducible
    spans = [_LONG, _SHORT]
    dice.shuffle(spans)
    choices = [round(dice.uniform(0.0, _STAYS - 0.01), 3), round(dice.random(), 3)]
    dice.shuffle(choices)
    return _plan(dice, seed, events, FaultKind.REDIS_FAILED_OVER, spans=spans, choices=choices)


def draw_no_replicas(seed: int, events: int) -> ChaosPlan:
    """Return a plan in which the replica is gone twice, once long enough to be named."""
    dice = random.Random(f"breakwater/no-replicas/{seed}")  # noqa: S311 - must be reproducible
    spans = [_LONG, (0.5, 3.0)]
    dice.shuffle(spans)
    return _plan(dice, seed, events, FaultKind.REDIS_WITHOUT_REPLICA, spans=spans)


def draw_muted(seed: int, events: int) -> ChaosPlan:
    """Return a plan in which connections are muted three times, in some seeds also new ones."""
    dice = random.Random(f"breakwater/muted/{seed}")  # noqa: S311 - must be reproducible
    spans = [dice.choice(((0.0, 0.0), _SHORT)) for _ in range(3)]
    return _plan(dice, seed, events, FaultKind.REDIS_MUTED, spans=spans)


def has_short_grace(seed: int) -> bool:
    """Return whether the grace time of a run of `no-replicas` ends before the fault does."""
    dice = random.Random(f"breakwater/no-replicas/grace/{seed}")  # noqa: S311 - reproducible
    return dice.random() < _GRACE_SHARE


def _plan(
    dice: random.Random,
    seed: int,
    events: int,
    kind: FaultKind,
    *,
    spans: list[tuple[float, float]],
    choices: Sequence[float] = (0.0, 0.0, 0.0),
) -> ChaosPlan:
    partitions, instances, keys = dice.randint(2, 4), dice.randint(1, 3), dice.randint(30, 60)
    holds = tuple(int(events * share) for share in _HOLDS_AT[len(spans)])
    faults = [
        PlannedFault(
            kind,
            hold * _HANDLED_PERCENT // 100,
            round(dice.uniform(*span), 1),
            choice,
        )
        for hold, span, choice in zip(holds, spans, choices[: len(holds)], strict=True)
    ]
    if dice.random() < 1 / 3:
        killed = int(events * dice.uniform(0.25, 0.5))
        faults.append(PlannedFault(FaultKind.HOST_KILLED, killed, choice=round(dice.random(), 3)))
    return ChaosPlan(
        *(seed, partitions, instances, keys, tuple(faults)),
        starts=1,
        poison_every=dice.choice((0, 400)),
        parks=dice.random() < 0.5,
        holds=holds,
    )
