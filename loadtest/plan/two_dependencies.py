"""The plan of the scenario `two-dependencies`, a pure function of the seed.

Half of the keys need the bank, the others the mail. The bank is away for a while. The bank's
circuit opens, waits for its break, and closes by itself, in some seeds after probes that fail. One
host is killed soon after the outage has begun, and one at about the time of the probes. Between the
two kills the other keys must not be late.
"""

from __future__ import annotations

import random

from loadtest.plan.chaos import ChaosPlan, FaultKind, PlannedFault

DEPENDENCIES = ("bank", "mail")
AWAY = "bank"
SECONDS, BREAK_SECONDS = (8.0, 16.0), 25.0
"""The least and greatest duration of the outage, and the break, after which no probe fails."""
LONG_SECONDS, SHORT_BREAK_SECONDS = (15.0, 18.0), 12.0
"""The same of a run whose first probes fail, so that the circuit opens again."""
FAILING_SHARE = 0.25
"""The share of the runs whose first probes fail."""
EARLY_SECONDS = (0.5, 3.0)
"""The time of the first kill, from the first refused call."""
LATE_SECONDS = (24.0, 30.0)
"""The time of the second kill, from the first refused call: before, in and after the probes."""


def draw_two_dependencies(seed: int, events: int) -> ChaosPlan:
    """Return a plan of many keys, so that each partition has enough keys that need the mail.

    A partition holds if more than four fifths of its events need a dependency that is away.
    """
    del events
    dice = random.Random(f"breakwater/two-dependencies/{seed}")  # noqa: S311 - must be reproducible
    partitions, instances, keys = dice.randint(2, 4), dice.randint(2, 3), dice.randint(160, 240)
    probes_fail = dice.random() < FAILING_SHARE
    seconds = round(dice.uniform(*(LONG_SECONDS if probes_fail else SECONDS)), 1)
    return ChaosPlan(
        seed=seed,
        partitions=partitions,
        instances=instances,
        keys=keys,
        faults=tuple(_kill(dice, *times) for times in (EARLY_SECONDS, LATE_SECONDS)),
        starts=1,
        down_seconds=seconds,
        dependencies=DEPENDENCIES,
        away=AWAY,
        probes_fail=probes_fail,
    )


def _kill(dice: random.Random, earliest: float, latest: float) -> PlannedFault:
    return PlannedFault(
        FaultKind.HOST_KILLED,
        0,
        choice=round(dice.random(), 3),
        after_refused=1,
        delay_seconds=round(dice.uniform(earliest, latest), 1),
    )
