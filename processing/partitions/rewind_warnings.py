"""The warnings about a rewind, as plain functions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from processing.parking.store import PartitionLists
from processing.partitions.checkpoints import Checkpoint
from processing.partitions.hub_range import HubRange
from processing.partitions.recreated import is_other_hub
from processing.partitions.rewind_plan import RewindWarning, WarningKind
from processing.progress.store import Progress


def unreadable(error: Exception) -> RewindWarning:
    """Return the warning about a checkpoint that the rewind replaces unread."""
    return RewindWarning(WarningKind.CHECKPOINT, f"The rewind replaces it: {error}")


def recreated(
    kept: HubRange, checkpoint: Checkpoint | None, progress: Progress, created_ms: int
) -> tuple[RewindWarning, ...]:
    """Return a warning if checkpoint or progress belong to a hub that was deleted.

    Args:
        kept: the events that the hub retains.
        checkpoint: the partition's checkpoint, or None.
        progress: the partition's progress.
        created_ms: the hub's time of creation, milliseconds since 1970.
    """
    watermark = progress.watermark
    beyond = [
        f"{name} {each.sequence_number}"
        for name, each in (("checkpoint", checkpoint), ("watermark", watermark))
        if each is not None and each.sequence_number >= kept.end
    ]
    if beyond:
        why = f"it ends before the {' and the '.join(beyond)}"
    elif checkpoint is not None and checkpoint.is_older_than(created_ms):
        why = f"the checkpoint {checkpoint.sequence_number} was written before that"
    elif not is_other_hub(progress, created_ms):
        return ()
    elif progress.created_ms:
        why = f"progress is of the hub that was created at {_time(progress.created_ms)}"
    else:
        why = "the watermark was enqueued before that"
    text = f"The hub was recreated (created at {_time(created_ms)}): {why}"
    return (RewindWarning(WarningKind.RECREATED, text),)


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def lost(oldest: int, first: int) -> RewindWarning:
    """Return the warning about parked events that Redis has lost.

    Args:
        oldest: sequence number of the oldest lost event.
        first: sequence number of the first event to process again.
    """
    missing = (
        f"A start at {first} leaves out up to {first - oldest} of them. " if first > oldest else ""
    )
    text = (
        f"Redis has lost parked events from event {oldest} on. {missing}The partition still "
        "holds after this rewind; --to-mark brings the events back and ends the hold"
    )
    return RewindWarning(WarningKind.MARK, text)


def expired(number: int, first: int) -> tuple[RewindWarning, ...]:
    """Return a warning if the hub has lost events that were not handled.

    Args:
        number: number of lost events; 0 or less: none.
        first: sequence number of the first retained event.
    """
    if number <= 0:
        return ()
    which = f"event {first - 1}" if number == 1 else f"events {first - number} to {first - 1}"
    events = "1 event is" if number == 1 else f"{number:,} events are"
    text = f"{events} gone: the hub retains the {which} no longer, and the app has not handled them"
    return (RewindWarning(WarningKind.EXPIRED, text),)


def discarded(
    places: Iterable[tuple[int, int]], first: int, end: int, created_ms: int
) -> list[RewindWarning]:
    """Return a warning if discarded events are processed again.

    Args:
        places: sequence number and enqueued time of the partition's discarded events.
        first: sequence number of the first event to process again.
        end: the hub's next sequence number.
        created_ms: the hub's time of creation; earlier events belong to a deleted hub.
    """
    again = sorted(
        number
        for number, enqueued_ms in places
        if first <= number < end and enqueued_ms >= created_ms
    )
    if not again:
        return []
    events = "1 event" if len(again) == 1 else f"{len(again):,} events"
    which = f"event {again[0]}" if len(again) == 1 else f"from event {again[0]} on"
    text = f"The handler gets {events} again that an operator has discarded ({which})"
    return [RewindWarning(WarningKind.DISCARDED, text)]


def lists(found: PartitionLists) -> list[RewindWarning]:
    """Return a warning if keys of the partition are deferred or parked."""
    if not found.keys:
        return []
    parked = found.keys - found.deferred
    parts = [
        f"{number:,} {name} {'key' if number == 1 else 'keys'}"
        for number, name in ((found.deferred, "deferred"), (parked, "parked"))
        if number
    ]
    has, their = ("has", "its list") if found.keys == 1 else ("have", "their lists")
    events = "1 event" if found.events == 1 else f"{found.events:,} events"
    text = (
        f"{' and '.join(parts)} {has} {events} in {their}. The lists stay: an event of such a key "
        "that comes back joins its key's list, and the handler gets it with the list"
    )
    return [RewindWarning(WarningKind.LISTS, text)]
