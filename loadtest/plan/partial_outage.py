"""The plan of the scenario `partial-outage`, a pure function of the seed.

The dependency of some keys is away for a while, and the other keys continue. In between hosts are
killed and partitions change their owner. Some seeds also fill Redis up, or empty it.
"""

from __future__ import annotations

import random

from loadtest.plan.chaos import LASTING, ChaosPlan, FaultKind, PlannedFault

LEAST_SHARE, MOST_SHARE = 0.05, 0.10
"""The least and greatest share of the keys whose dependency is away."""
LEAST_SECONDS, MOST_SECONDS = 20.0, 40.0
"""The least and greatest duration of the outage."""
VARIANTS = (None, None, FaultKind.REDIS_FILLED, FaultKind.REDIS_EMPTIED)
"""The fate of Redis during the outage; in half of the runs Redis keeps working."""

_DEFERRED_SECONDS = 8.0
"""The time from the first refused call until the keys are deferred."""
_MARGIN_SECONDS = 4.0


def draw_partial(seed: int, events: int) -> ChaosPlan:
    """Return a plan whose faults all start during the outage, whatever the number of events."""
    del events
    dice = random.Random(f"breakwater/partial-outage/{seed}")  # noqa: S311 - must be reproducible
    partitions, instances, keys = dice.randint(2, 6), dice.randint(2, 3), dice.randint(20, 60)
    away = max(1, int(keys * dice.uniform(LEAST_SHARE, MOST_SHARE)))
    down = tuple(sorted(dice.sample(range(keys), away)))
    seconds = round(dice.uniform(LEAST_SECONDS, MOST_SECONDS), 1)
    rebalance = dice.choice((FaultKind.HOST_ADDED, FaultKind.HOST_TERMINATED))
    kinds = [FaultKind.HOST_KILLED] * dice.randint(1, 2) + [rebalance]
    faults = [_fault(dice, kind, 2.0, seconds - _MARGIN_SECONDS) for kind in kinds]
    if (variant := dice.choice(VARIANTS)) is not None:
        faults.append(_fault(dice, variant, _DEFERRED_SECONDS, seconds - _MARGIN_SECONDS))
    return ChaosPlan(
        seed=seed,
        partitions=partitions,
        instances=instances,
        keys=keys,
        faults=tuple(sorted(faults, key=lambda fault: fault.delay_seconds)),
        starts=1,
        down=down,
        down_seconds=seconds,
        parks=dice.random() < 0.5,
    )


def _fault(dice: random.Random, kind: FaultKind, earliest: float, latest: float) -> PlannedFault:
    least, most = LASTING.get(kind, (0.0, 0.0))
    return PlannedFault(
        kind,
        0,
        round(dice.uniform(least, most), 1),
        round(dice.random(), 3),
        after_refused=1,
        delay_seconds=round(dice.uniform(earliest, latest), 1),
    )
