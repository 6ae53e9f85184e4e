"""Deaths at which several processes of the app died together, as at a deploy."""

from __future__ import annotations

from collections.abc import Sequence

from processing.crashes.process import ProcessName
from processing.crashes.records import AloneRun
from processing.crashes.rules import SEEN_SECONDS, are_apart, last_heartbeats
from processing.crashes.store import CrashStore


async def deaths_of_one(
    store: CrashStore, process: ProcessName, deaths: Sequence[AloneRun]
) -> tuple[list[AloneRun], bool]:
    """Return the deaths at which no other process died, and whether this answer is final.

    A process may have died together with a run if its last heartbeat was just before the run's end.
    For some seconds after that end, the last heartbeat of a living process lies there, too. So the
    answer is final only after these seconds.

    Args:
        store: has the last heartbeat of each process.
        process: this process, which lives.
        deaths: the runs of one event whose process died while only this event was in flight.

    Raises:
        StorageUnavailableError: the store did not answer.
    """
    found, final = [], True
    for run in deaths:
        first, last = last_heartbeats(run)
        seen = await store.last_seen(first, last, found_dead_before=run.began)
        # A process that ran the event apart from this run did not die with it.
        lived = {process, run.process}
        lived |= {other.process for other in deaths if are_apart(run, other)}
        if all(each in lived or each.has_died() is False for each in seen.processes):
            found.append(run)
        elif seen.now < run.alive + SEEN_SECONDS * 1e6:
            final = False
    return found, final
