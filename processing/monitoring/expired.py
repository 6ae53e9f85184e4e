"""Expired events: events that the hub has removed before they were handled.

An event expires when the hub's retention time has passed. An operator cannot bring the event back,
so a report names the partition and the number of events, and what prevents the next loss.
"""

from __future__ import annotations

from collections.abc import Iterable

from processing.partitions.lag import PartitionLag


def expired_problems(hub: str, partitions: Iterable[PartitionLag]) -> list[str]:
    """Return one text for each partition of which events have expired.

    Args:
        hub: the hub's name.
        partitions: the lag of all partitions.
    """
    return [
        f"partition {each.partition} of {hub}: {events_text(each.expired)} expired unhandled, and "
        "cannot be brought back. Raise the hub's retention time, or look for the "
        "cause of the delay"
        for each in partitions
        if each.expired
    ]


def events_text(count: int) -> str:
    """Return a number of events as text."""
    return "1 event" if count == 1 else f"{count} events"
