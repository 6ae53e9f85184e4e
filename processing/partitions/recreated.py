"""Recreated hubs: pure rules that decide to which hub the events of a batch belong.

A hub that is deleted and created again under its name counts its events from zero. A remembered
sequence number means an event only together with the hub, and the hub's time of creation names the
hub. An enqueued time alone is no proof, because a broker's clock can step back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from processing.event import Event
from processing.partitions.hub_range import HubRange
from processing.progress.store import Progress


class Verdict(StrEnum):
    """The meaning of a batch's sequence numbers for the progress of its partition."""

    SAME = "same"  # the events and the progress belong to the present hub
    CLOCK = "clock"  # as SAME; the broker's clock stepped back, and the odd events are finished
    OLD = "old"  # the events were delivered before the hub was deleted; the progress counts
    RESET = "reset"  # the progress belongs to a deleted hub, and the platform skipped no event
    RECREATED = "recreated"  # the platform may have skipped events; an operator must rewind


@dataclass(frozen=True, slots=True)
class HubFacts:
    """The hub's answers about itself and one partition.

    Attributes:
        created_ms: time at which the hub was created, milliseconds since 1970.
        kept: the events that the partition retains.
    """

    created_ms: int
    kept: HubRange


def is_odd(progress: Progress, event: Event) -> bool:
    """Return whether an event at or below the watermark was enqueued after the watermark.

    Within one hub, sequence numbers and enqueued times rise together, unless the broker's clock
    steps back.
    """
    watermark = progress.watermark
    return (
        watermark is not None
        and event.sequence_number <= watermark.sequence_number
        and event.enqueued_ms > watermark.enqueued_ms
    )


def is_other_hub(progress: Progress, created_ms: int) -> bool:
    """Return whether the progress belongs to another hub than the one created at `created_ms`.

    Progress of an older version names no hub. Such progress belongs to another hub if the hub was
    created after the watermark was enqueued.
    """
    if progress.created_ms:
        return progress.created_ms != created_ms
    return progress.watermark is not None and created_ms > progress.watermark.enqueued_ms


def judge(progress: Progress, events: Sequence[Event], hub: HubFacts) -> Verdict:
    """Return the verdict about a batch.

    Args:
        progress: the progress of the batch's partition.
        events: the events of the batch by sequence number, at least one.
        hub: the answers of the hub, asked after the batch was delivered.
    """
    watermark, first = progress.watermark, events[0].sequence_number
    odd = any(is_odd(progress, event) for event in events)
    if not is_other_hub(progress, hub.created_ms):
        if watermark is not None and watermark.sequence_number >= hub.kept.end:
            return Verdict.RECREATED  # the hub has lost events, and gives their numbers again
        return Verdict.CLOCK if odd else Verdict.SAME
    if not odd and all(event.enqueued_ms < hub.created_ms for event in events):
        return Verdict.OLD
    if watermark is not None and hub.created_ms <= watermark.enqueued_ms:
        return Verdict.RECREATED  # a hub that was restored, or that reports an odd time
    return Verdict.RESET if first <= hub.kept.first else Verdict.RECREATED
