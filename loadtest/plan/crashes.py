"""The plans of the scenarios `crash-loop` and `blocked-loop`, pure functions of the seed.

In `crash-loop` one event kills its process each time, until the app has put the event into the
poison queue. Half of the seeds also kill or terminate hosts in that time, as deployments do. In
`blocked-loop` some events block the event loop of their process, or one event of a plain handler
holds the interpreter until the watchdog ends the process.
"""

from __future__ import annotations

import random

from loadtest.plan.chaos import ChaosPlan, FaultKind, PlannedFault

HANDLER = "loadtest.handlers.harmful:HarmfulHandler"
PLAIN_HANDLER = "loadtest.handlers.harmful:PlainHarmfulHandler"
"""The setting `EVENT_HANDLER` of these runs; the plain one if an event holds the interpreter."""
CRASHES_SECONDS = 20.0
"""A lower limit of the time that these deaths take."""

_KILL, _SEIZE = "kill", "seize"
_DEPLOYS = (FaultKind.HOST_KILLED, FaultKind.HOST_TERMINATED)
_SLOW_EVERY = 20
_BEFORE_SHARE = 0.15
"""The deadly event is behind this share of the events of its key."""


def draw_crash_loop(seed: int, events: int) -> ChaosPlan:
    """Return a plan with one event that kills its process, and perhaps with deployments."""
    dice = random.Random(f"breakwater/crash-loop/{seed}")  # noqa: S311 - must be reproducible
    partitions, instances, keys = dice.randint(2, 4), dice.randint(1, 3), dice.randint(20, 40)
    deploys = dice.choice((0, 0, 1, 2))
    faults = [_deploy(dice, events) for _ in range(deploys)]
    hang_every = dice.choice((0, 300))  # events that are in flight at the deaths, too
    return ChaosPlan(
        *(seed, partitions, instances, keys),
        tuple(sorted(faults, key=lambda fault: fault.delay_seconds)),
        slow_every=_SLOW_EVERY,
        hang_every=hang_every,
        starts=1,
        deadly=_KILL,
    )


def draw_blocked_loop(seed: int, events: int) -> ChaosPlan:
    """Return a plan with events that block the loop, or one that holds the interpreter."""
    del events
    dice = random.Random(f"breakwater/blocked-loop/{seed}")  # noqa: S311 - must be reproducible
    partitions, instances, keys = dice.randint(2, 4), dice.randint(2, 3), dice.randint(20, 40)
    deadly, blocks = dice.choice((("", dice.randint(2, 5)), (_SEIZE, 0)))
    return ChaosPlan(
        *(seed, partitions, instances, keys, ()),
        slow_every=_SLOW_EVERY,
        starts=1,
        deadly=deadly,
        blocks=blocks,
    )


def handler_of(plan: ChaosPlan) -> str:
    """Return the setting `EVENT_HANDLER` for a plan."""
    return PLAIN_HANDLER if plan.deadly == _SEIZE else HANDLER


def _deploy(dice: random.Random, events: int) -> PlannedFault:
    return PlannedFault(
        dice.choice(_DEPLOYS),
        int(events * _BEFORE_SHARE),
        choice=round(dice.random(), 3),
        delay_seconds=round(dice.uniform(0.0, CRASHES_SECONDS), 1),
    )
