"""Expired events: events that the hub has removed before they were handled.

An event expires when the hub's retention time has passed. An operator cannot bring the event back,
so a report names the partition and the number of events, and what prevents the next loss.
"""

from __future__ import annotations

from collections.abc import Iterable

from processing.partitions.gaps import Gap
from processing.partitions.lag import PartitionLag

REPORTED_MS = 24 * 3600 * 1000
"""Time for which a gap is a problem in reports, milliseconds."""
NAMED_GAPS = 3
"""Greatest number of gaps that a report names by their sequence numbers."""


def expired_problems(hub: str, partitions: Iterable[PartitionLag], now_ms: int) -> list[str]:
    """Return one text for each partition of which events have expired lately.

    Args:
        hub: the hub's name.
        partitions: the lag of all partitions.
        now_ms: the present time, milliseconds since 1970.
    """
    found = []
    for each in partitions:
        if not (count := expired_lately(each, now_ms)):
            continue
        recent = recent_gaps(each, now_ms)[:NAMED_GAPS]
        named = ", ".join(f"{gap.first} to {gap.last}" for gap in recent)
        found.append(
            f"partition {each.partition} of {hub}: {events_text(count)} expired unhandled"
            f"{f' ({named})' if named else ''}, and cannot be brought back. Raise the hub's "
            "retention time, or look for the cause of the delay"
        )
    return found


def expired_lately(lag: PartitionLag, now_ms: int) -> int:
    """Return the number of a partition's events that have expired in the last 24 hours.

    Args:
        lag: the partition's lag.
        now_ms: the present time, milliseconds since 1970.
    """
    return lag.expired + sum(gap.events for gap in recent_gaps(lag, now_ms))


def recent_gaps(lag: PartitionLag, now_ms: int) -> list[Gap]:
    """Return the gaps of a partition that are reported as a problem."""
    return [gap for gap in lag.gaps if gap.seen_ms > now_ms - REPORTED_MS]


def events_text(count: int) -> str:
    """Return a number of events as text."""
    return "1 event" if count == 1 else f"{count} events"
