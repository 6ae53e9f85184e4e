"""The plans of the scenarios `trickle-outage` and `dead-key`, pure functions of the seed.

Both have few keys and a slow, steady stream of events. Their only faults besides the outage are
killed hosts, so that the circuit opens only by the outage, and a run can expect how often and when.
"""

from __future__ import annotations

import random

from loadtest.plan.chaos import ChaosPlan, FaultKind, PlannedFault

_EARLY_SHARE = 0.4
"""Share of the runs whose operator approves once while the downstream is still away."""


def draw_trickle(seed: int, events: int) -> ChaosPlan:
    """Return a plan of one to four keys, whose host dies during the outage, after it, or twice."""
    dice = random.Random(f"breakwater/trickle-outage/{seed}")  # noqa: S311 - must be reproducible
    partitions, instances, keys = dice.randint(1, 4), dice.randint(1, 2), dice.randint(1, 4)
    failing = PlannedFault(
        FaultKind.HOST_KILLED, 0, choice=round(dice.random(), 3), after_refused=dice.randint(2, 8)
    )
    resumed = _kill(dice, events, 0.7, 0.9)
    faults = dice.choice([(failing,), (resumed,), (failing, resumed)])
    early = dice.random() < _EARLY_SHARE
    return ChaosPlan(
        *(seed, partitions, instances, keys, faults),
        approves_early=early,
        starts=3 if early else 2,  # at the beginning, and after each approval
    )


def draw_dead_key(seed: int, events: int) -> ChaosPlan:
    """Return a plan of six to ten keys, whose host may die while one key is dead."""
    dice = random.Random(f"breakwater/dead-key/{seed}")  # noqa: S311 - must be reproducible
    partitions, instances, keys = dice.randint(2, 6), dice.randint(1, 2), dice.randint(6, 10)
    kill = _kill(dice, events, 0.5, 0.65)
    faults = dice.choice([(), (kill,)])
    return ChaosPlan(seed, partitions, instances, keys, faults, starts=2)


def _kill(dice: random.Random, events: int, least: float, most: float) -> PlannedFault:
    """Return the kill of a host after a share of the events."""
    moment = int(events * dice.uniform(least, most))
    return PlannedFault(FaultKind.HOST_KILLED, moment, choice=round(dice.random(), 3))
