"""The rules of crash loops, as plain functions.

docs/adr/0028-careful-mode.md gives the reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from processing.crashes.records import AloneRun

ALONE_DEATHS = 2
"""Number of deaths alone in flight, with running times that agree, that poison an event."""
ALONE_DEATHS_MAX = 8
"""Number of deaths alone in flight that poison an event, whatever its running times."""
SIGN_OF_LIFE_SECONDS = 0.1
"""Pause between two signs of life of an event that runs alone; the error of a running time."""

BEAT_SECONDS = 5.0
"""Pause between two heartbeats of a process; a process is silent after three."""
SEEN_SECONDS = BEAT_SECONDS + 2.0
"""Time in which a living process has certainly recorded a heartbeat."""
_SPREAD_SECONDS = 0.5
"""Time within which one deploy kills all processes."""

# A wrong "no" costs a few more deaths, but a wrong "yes" poisons an event that deploys have killed.
_LEAST = 0.25
_GREATEST = 15.0
_SHARE = 0.05
_LEAST_PAUSE = 1.0


def tolerance(seconds: float) -> float:
    """Return the greatest difference of two running times that agree; `seconds`: the shorter."""
    return min(_GREATEST, max(_LEAST, _SHARE * seconds))


def are_apart(one: AloneRun, other: AloneRun) -> bool:
    """Return whether one run began after the death of the other.

    A process that knows of a death pauses before it runs the event again. If the time between one
    run's last sign of life and the other run's start is shorter, both ran at the same time.
    """
    least = round(_LEAST_PAUSE * 1e6)
    return other.began - one.alive >= least or one.began - other.alive >= least


def last_heartbeats(run: AloneRun) -> tuple[int, int]:
    """Return the times between which a process recorded its last heartbeat if it died with a run.

    Returns:
        The first and the last time, in microseconds since 1970 by the store's clock.
    """
    return run.alive - round(SEEN_SECONDS * 1e6), run.alive + round(_SPREAD_SECONDS * 1e6)


def agree(one: float, other: float) -> bool:
    """Return whether two running times, in seconds, are those of a call that ends its process."""
    return abs(one - other) <= tolerance(min(one, other))


def ends_its_process(runs: Sequence[AloneRun]) -> bool:
    """Return whether an event ends the process that handles it.

    A deploy kills the process at any time of a slow event, but an event that kills its process does
    so at one point of its handler. So two deaths count together only if the running times agree.
    Two owners of a partition may run the event at the same time, and one deploy kills both: these
    deaths do not count together.

    Args:
        runs: the runs of one event at whose death it was alone in flight.
    """
    pairs = combinations(runs, ALONE_DEATHS)
    return len(runs) >= ALONE_DEATHS_MAX or any(
        are_apart(one, other) and agree(one.seconds, other.seconds) for one, other in pairs
    )


def pause_seconds(runs: Sequence[AloneRun]) -> float:
    """Return the pause before an event runs alone again.

    A pipeline that kills each process at one age would otherwise find the event at the same running
    time each time. Each run begins later than the run before, by more than the tolerance.
    """
    longest = max((run.seconds for run in runs), default=0.0)
    return max(_LEAST_PAUSE, 2 * tolerance(longest)) * len(runs)
