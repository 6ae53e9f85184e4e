"""Steps back of the broker's clock: harmless, but an operator who compares times should know."""

from __future__ import annotations

from collections.abc import Iterable

from processing.partitions.lag import PartitionLag

REPORTED_MS = 24 * 3600 * 1000
"""Time for which a step is a warning in reports, milliseconds."""


def clock_warnings(hub: str, partitions: Iterable[PartitionLag], now_ms: int) -> list[str]:
    """Return one text if the broker's clock has stepped back in the last 24 hours, else none.

    Args:
        hub: the hub's name.
        partitions: the lag of all partitions.
        now_ms: the present time, milliseconds since 1970.
    """
    steps = {
        each.partition: each.step
        for each in partitions
        if each.step is not None and each.step.seen_ms > now_ms - REPORTED_MS
    }
    if not steps:
        return []
    partition, step = max(steps.items(), key=lambda item: item[1].seen_ms)
    return [
        f"the clock of {hub} stepped back by {step.back_ms / 1000:.1f} s in partition "
        f"{', '.join(steps)} (latest: event {step.sequence_number} of partition {partition}). No "
        "event is lost or handled twice; enqueued times of that moment are not in order"
    ]
