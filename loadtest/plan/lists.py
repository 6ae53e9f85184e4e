"""The plan of the scenario `lists`, a pure function of the seed.

The app has a handler of lists. Two hosts are killed during lists, Redis restarts, and the
downstream is away until an operator has approved. Some events are poison, fail, hang or take long.
"""

from __future__ import annotations

import random

from loadtest.plan.chaos import LASTING, ChaosPlan, FaultKind, PlannedFault

HANDLER = "loadtest.handlers.listing:ListLedgerHandler"
"""The setting `EVENT_HANDLER` of these runs."""
LIST_EVENTS = (5, 10, 20)
"""The most events of a list: few, so that the judge notices if more than lists are doubled."""

_OTHERS = (
    FaultKind.HOST_TERMINATED,
    FaultKind.HOST_ADDED,
    FaultKind.CONNECTIONS_CUT,
    FaultKind.EVENTS_REDELIVERED,
    FaultKind.REDIS_PAUSED,
    FaultKind.STORAGE_RESTARTED,
)
_MOMENTS = (0.1, 0.75)
"""The share of the events that are handled before a fault; parked events are never handled."""
_OUTAGE_MOMENTS = (0.3, 0.6)


def draw_lists(seed: int, events: int) -> ChaosPlan:
    """Return a plan with two kills, a restart of Redis, an outage, and another fault."""
    dice = random.Random(f"breakwater/lists/{seed}")  # noqa: S311 - must be reproducible
    partitions, instances, keys = dice.randint(2, 4), dice.randint(1, 3), dice.randint(40, 160)
    kinds = [FaultKind.HOST_KILLED, FaultKind.HOST_KILLED, FaultKind.REDIS_RESTARTED]
    kinds += [FaultKind.OUTAGE, dice.choice(_OTHERS)]
    faults = (_fault(dice, kind, events) for kind in kinds)
    parks = dice.random() < 0.5
    return ChaosPlan(
        *(seed, partitions, instances, keys),
        tuple(sorted(faults, key=lambda fault: fault.after_handled)),
        hot_key=not parks and dice.random() < 0.5,
        poison_every=dice.choice((300, 1_000)),
        slow_every=dice.choice((0, 100)),
        hang_every=dice.choice((0, 2_000)),
        starts=1,
        parks=parks,
        list_events=dice.choice(LIST_EVENTS),
    )


def _fault(dice: random.Random, kind: FaultKind, events: int) -> PlannedFault:
    moments = _OUTAGE_MOMENTS if kind is FaultKind.OUTAGE else _MOMENTS
    least, most = LASTING.get(kind, (0.0, 0.0))
    return PlannedFault(
        kind,
        int(events * dice.uniform(*moments)),
        round(dice.uniform(least, most), 1),
        round(dice.random(), 3),
    )


def list_settings(plan: ChaosPlan) -> dict[str, str]:
    """Return the app settings of the handler of lists."""
    return {
        "EVENT_HANDLER": HANDLER,
        "PROCESSING_BATCH_HANDLER_EVENTS": str(plan.list_events),
    }
