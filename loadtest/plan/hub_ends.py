"""The plans of `recreated-hub`, `expired` and `clock-back`, pure functions of the seed.

In `recreated-hub` the hub is deleted and created again once all events so far are handled, and more
events than before follow. In `expired` events expire while the app is stopped, or holds because the
circuit is isolated. In `clock-back` the broker's clock is set back, and events are redelivered.
"""

from __future__ import annotations

import random

from loadtest.plan.chaos import ChaosPlan, FaultKind, PlannedFault

RECREATED_AT = 0.4
"""The share of the events that are sent before the hub is deleted; the new hub grows past them."""
EXPIRED_AT = (0.4, 0.6, 0.75)
"""Three shares of the events: the first is handled when the app stops, the events from there to the
second expire, and the third is sent when the app starts."""

ABSENT_SECONDS = (1.0, 4.0)
"""The least and greatest time for which the hub does not exist."""
NOTICE_SECONDS = 60.0
"""The time within which health must report the fault."""
CLOCK_SECONDS = 5.0
"""The time by which the broker's clock is set back."""

_CLOCK_AT = (0.3, 0.6)
"""The least and greatest share of the events that are sent before the clock is set back."""
_SOON = (0.01, 0.3)
"""The share of the events that are sent between the step and the redelivery.

A later redelivery tests nothing: by then the watermark has a later time than the events before the
step.
"""
_REDELIVERIES = (
    FaultKind.HOST_KILLED,
    FaultKind.EVENTS_REDELIVERED,
    FaultKind.CONNECTIONS_CUT,
    FaultKind.LINKS_DETACHED,
)


def draw_recreated_hub(seed: int, events: int) -> ChaosPlan:
    """Return a plan in which the hub is recreated, in half of the runs with a host killed."""
    dice = random.Random(f"breakwater/recreated-hub/{seed}")  # noqa: S311 - must be reproducible
    partitions, instances, keys = dice.randint(2, 4), dice.randint(1, 3), dice.randint(30, 60)
    hold = int(events * RECREATED_AT)
    faults = [
        PlannedFault(
            FaultKind.HUB_RECREATED,
            0,
            seconds=round(dice.uniform(*ABSENT_SECONDS), 1),
            choice=round(dice.random(), 3),
        )
    ]
    if dice.random() < 0.5:
        faults.append(_kill(dice, hold, 0.0, 6.0))
    same_size = dice.random() < 0.5
    return ChaosPlan(
        *(seed, partitions, instances, keys, tuple(faults)),
        starts=1,
        holds=(hold,),
        same_size=same_size,
    )


def draw_expired(seed: int, events: int) -> ChaosPlan:
    """Return a plan in which some of the hub's events expire, or sometimes all of them."""
    dice = random.Random(f"breakwater/expired/{seed}")  # noqa: S311 - must be reproducible
    partitions, instances, keys = dice.randint(2, 4), dice.randint(1, 3), dice.randint(30, 60)
    kind = dice.choice((FaultKind.EXPIRED_WHILE_STOPPED, FaultKind.EXPIRED_WHILE_ISOLATED))
    faults = [PlannedFault(kind, 0, choice=round(dice.random(), 3))]
    if kind is FaultKind.EXPIRED_WHILE_ISOLATED and dice.random() < 0.5:
        faults.append(_kill(dice, int(events * EXPIRED_AT[0]), 0.0, 6.0))
    holds = tuple(int(events * share) for share in EXPIRED_AT)
    return ChaosPlan(seed, partitions, instances, keys, tuple(faults), starts=1, holds=holds)


def draw_clock_back(seed: int, events: int) -> ChaosPlan:
    """Return a plan in which hosts are killed soon after the broker's clock was set back."""
    dice = random.Random(f"breakwater/clock-back/{seed}")  # noqa: S311 - must be reproducible
    partitions, instances, keys = dice.randint(2, 4), dice.randint(1, 3), dice.randint(20, 40)
    moment = int(events * dice.uniform(*_CLOCK_AT))
    faults = [PlannedFault(FaultKind.CLOCK_SET_BACK, 0, seconds=CLOCK_SECONDS)]
    # A new owner that finds no checkpoint gets all events again.
    kinds = [FaultKind.CHECKPOINTS_LOST, *dice.sample(_REDELIVERIES, 2)]
    faults += [
        PlannedFault(
            kind,
            moment + int(events * dice.uniform(*_SOON)),
            choice=round(dice.random(), 3),
        )
        for kind in kinds
    ]
    return ChaosPlan(seed, partitions, instances, keys, tuple(faults), starts=1, holds=(moment,))


def _kill(dice: random.Random, after: int, earliest: float, latest: float) -> PlannedFault:
    return PlannedFault(
        FaultKind.HOST_KILLED,
        after,
        choice=round(dice.random(), 3),
        delay_seconds=round(dice.uniform(earliest, latest), 1),
    )
