"""Replies of Redis about parked lists, as the types of `processing.parking.store`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from processing.errors import ProcessingError
from processing.identity import Source
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import ListKey, Position
from processing.parking.redis_names import key_of, text_of
from processing.parking.store import (
    Claim,
    Entry,
    EntryKind,
    ListHead,
    ParkedKey,
    PartitionLists,
    claim_lost,
    mark_lost,
    parked_list_full,
    partition_full,
)
from processing.progress.redis import parsed

type Value = bytes | str


def claim(asked: Sequence[ListKey], reply: Sequence[Any]) -> Claim:
    """Return a claim.

    Args:
        asked: the keys of the batch; the reply names their places, counted from 1.
        reply: the reply of `scripts/claim.lua`.
    """
    owner, previous, number, enqueued_ms, finished, opening, overdue, created_ms, *lists = reply
    progress = parsed(int(owner), number, enqueued_ms, finished, created_ms)
    openings = tuple(text_of(opening).split("\n")) if opening else ()
    marks = overdue_marks(int(owner), overdue)
    if not lists:
        return Claim(progress, int(previous), openings=openings, overdue=marks)
    parked, replayed, due, latest, events, size, mark, poison_head, needs = lists
    keys = [key_of(label) for label in latest[::2]]
    return Claim(
        progress,
        int(previous),
        frozenset(asked[place - 1] for place in parked),
        {
            asked[place - 1]: text_of(position)
            for place, position in zip(replayed[::2], replayed[1::2], strict=True)
        },
        tuple(map(key_of, due)),
        {key: float(since) / 1e6 for key, since in zip(keys, latest[1::2], strict=True)},
        int(events),
        int(size),
        text_of(mark),
        text_of(poison_head),
        openings,
        {key: text_of(need) for key, need in zip(keys, needs, strict=True) if need},
        marks,
    )


def overdue_marks(now_us: int, text: Value) -> frozenset[Position]:
    """Return the positions of the marks that have not expired."""
    if not text:
        return frozenset()
    marks = (line.split(" ") for line in text_of(text).splitlines())
    return frozenset(position for expiry, position in marks if int(expiry) > now_us)


def refusal(source: Source, outcome: str, limits: tuple[int, int, int]) -> ProcessingError | None:
    """Return the error for a refused write, or None if the write was not refused.

    Args:
        source: the partition.
        outcome: the outcome of the script.
        limits: the most entries of one key, and the limits of the partition: events and bytes.
    """
    most, events, size = limits
    match outcome:
        case "taken":
            return claim_lost(source)
        case "unmarked":
            return mark_lost(source)
        case "long":
            return parked_list_full(source, most)
        case "many":
            return partition_full(source, f"{events} events", "PROCESSING_DEFERRED_EVENTS_MAX")
        case "large":
            what = f"{size // 2**20} MB of events"
            return partition_full(source, what, "PROCESSING_PARKED_MEGABYTES_MAX")
        case _:
            return None


def summary(reply: Sequence[Any]) -> PartitionLists:
    """Return the numbers in the reply of `scripts/summary.lua`."""
    keys, deferred, events, size, oldest, mark = reply
    since = float(oldest[1]) / 1e6 if oldest else None
    return PartitionLists(int(keys), int(deferred), int(events), int(size), since, text_of(mark))


def entry(position: Position, document: Value) -> Entry:
    """Return an entry; the letter of its kind stands before its document."""
    text = text_of(document)
    return Entry(position, EntryKind(text[0]), text[1:])


def deferral(stored: Value | None, since: Value | float | None) -> Deferral | None:
    """Return a key's deferral.

    Args:
        stored: the time of the last try, microseconds since 1970, a blank, and JSON; None: the key
            is not deferred.
        since: the time of the deferral, microseconds since 1970.
    """
    if stored is None or since is None:
        return None
    last_try, _, text = text_of(stored).partition(" ")
    deferred_at, tried_at = float(since) / 1e6, int(last_try) / 1e6
    try:
        return Deferral.from_json(text, since=deferred_at, last_try=tried_at)
    except ValueError as error:  # the key must come back although nobody knows its history
        unread = Deferral(DeferralReason.DEPENDENCY, deferred_at, tried_at, error=f"{error}")
        return unread.clipped()


def head(source: Source, key: ListKey, reply: Sequence[Any]) -> ListHead:
    """Return a list with its first entry.

    Args:
        source: the partition.
        key: the name of the list.
        reply: the reply of `scripts/heads.lua` about this list.
    """
    created, entries, position, document, stored, since, due = reply
    parked = ParkedKey(
        source,
        key,
        microseconds(created) / 1e6,
        int(entries),
        deferral(stored or None, since or None),
        float(due) / 1e6 if due else None,
    )
    try:
        first = entry(text_of(position), document)
    except (IndexError, ValueError):  # no document, or an odd one; the other keys are listed, too
        return ListHead(parked, text_of(position))
    return ListHead(parked, first.position, first.kind, first.document)


def microseconds(value: Value) -> int:
    """Return a stored time; 0 if the value is no time, so that its key is still listed."""
    text = text_of(value)
    return int(text) if text.isascii() and text.isdigit() else 0
