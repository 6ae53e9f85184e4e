"""The plan of the scenario `two-pipelines`, a pure function of the seed.

One app has two pipelines with the same keys and counters. The downstream of one of them, the *hit*
pipeline, is away until an operator has approved. Some seeds isolate that pipeline first. At the end
an operator replays its poisoned events. In the outage hosts are killed, stopped or added, and in
some seeds Redis restarts: these faults hit the process, and therefore both pipelines.
"""

from __future__ import annotations

import random

from loadtest.plan.chaos import ChaosPlan, FaultKind, PlannedFault

PIPELINES = ("orders", "audit")
HANDLER = "loadtest.handlers.curable:CurableHandler"
"""The setting `EVENT_HANDLER` of these runs."""
MORE_EVENTS = 100
"""The events that the other pipeline handles before an operator lets the hit one continue."""
_PROCESS_FAULTS = (
    FaultKind.HOST_KILLED,
    FaultKind.HOST_KILLED,
    FaultKind.HOST_TERMINATED,
    FaultKind.HOST_ADDED,
    FaultKind.CONNECTIONS_CUT,
    FaultKind.REDIS_RESTARTED,
)
_LATEST_SECONDS = 6.0
"""The latest time of a fault, from the first refused call."""


def draw_two_pipelines(seed: int, events: int) -> ChaosPlan:
    """Return a plan whose faults start in the outage of one pipeline."""
    del events
    dice = random.Random(f"breakwater/two-pipelines/{seed}")  # noqa: S311 - must be reproducible
    partitions, instances, keys = dice.randint(2, 4), dice.randint(1, 3), dice.randint(40, 80)
    kinds = dice.sample(_PROCESS_FAULTS, dice.randint(1, 3))
    return ChaosPlan(
        seed=seed,
        partitions=partitions,
        instances=instances,
        keys=keys,
        faults=tuple(
            sorted((_fault(dice, kind) for kind in kinds), key=lambda fault: fault.delay_seconds)
        ),
        starts=1,
        hit=dice.choice(PIPELINES),
        isolates=dice.random() < 0.5,
        parks=True,
        other_parks=dice.random() < 0.5,
    )


def _fault(dice: random.Random, kind: FaultKind) -> PlannedFault:
    return PlannedFault(
        kind,
        0,
        choice=round(dice.random(), 3),
        after_refused=1,
        delay_seconds=round(dice.uniform(0.0, _LATEST_SECONDS), 1),
    )


def pipeline_settings(plan: ChaosPlan) -> dict[str, str]:
    """Return the app settings that declare the pipelines, each with a hub of its own."""
    found = {"PIPELINES": ",".join(PIPELINES), "EVENT_HANDLER": HANDLER}
    for name in PIPELINES:
        parks = plan.parks if name == plan.hit else plan.other_parks
        found |= {
            f"PIPELINE_{name.upper()}_EVENT_HUB_NAME": f"{name}-events",
            f"PIPELINE_{name.upper()}_PROCESSING_POISON_ORDERING": "park" if parks else "skip",
        }
    return found
