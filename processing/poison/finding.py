"""The search for one event's messages, by the index if possible."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from processing.errors import OtherAppError, ProcessingError, StorageUnavailableError
from processing.identity import PIPELINE, Identity
from processing.poison.index.entry import IndexEntry
from processing.poison.index.index import PAGE_ENTRIES, PoisonIndex
from processing.poison.message import PoisonMessage
from processing.poison.other_apps import is_own, refusal
from processing.poison.probing import is_gone
from processing.poison.queue import PoisonReader, Received, has_id, oldest_first, put_back
from processing.poison.reading import read_matching


async def find_copies(
    reader: PoisonReader,
    text: str,
    own: Identity,
    *,
    index: PoisonIndex | None = None,
    to_read: bool = False,
) -> list[PoisonMessage]:
    """Return all messages of the app's event that has the id (see `has_id`).

    A large message is a claim check. An event that was poisoned again has several messages. The
    index names the messages, and the queue confirms each of them. If the index cannot help, all
    messages of the queue are received.

    Args:
        reader: reads the queue.
        text: the id, or the end of the id after a "/".
        own: the app.
        index: the queue's index; None: there is none.
        to_read: also return another app's message if the app itself has none with the id.

    Raises:
        OtherAppError: only another app has a message with the id.
        ProcessingError: no message has the id, or several messages do, or somebody holds the
            message.
        StorageUnavailableError: the queue cannot be read.
    """
    entries = [] if index is None else await _known(index, text)
    if index is not None and entries and all(entry.is_whole for entry in entries):
        confirmed = await _confirmed(reader, index, entries)
        if len(confirmed) == len(entries):
            return _copies_of_one(confirmed, text, own)
    copies = await read_matching(reader, lambda message: has_id(message, text), index)
    try:
        return _copies_of_one(copies, text, own, to_read=to_read)
    except OtherAppError:
        raise
    except ProcessingError as error:
        if held := [each for each in entries if not await is_gone(reader, each)]:
            raise ProcessingError(
                f"another program has received the poison message of event {held[0].message.id}, "
                "for example a redrive; try again in a moment"
            ) from error
        raise


def _copies_of_one(
    copies: Sequence[PoisonMessage], text: str, own: Identity, *, to_read: bool = False
) -> list[PoisonMessage]:
    """Return the messages of the one event that has an id; raises as `find_copies` does.

    Args:
        copies: all messages whose event has the id.
        text: the id, or the end of the id after a "/".
        own: the app.
        to_read: see `find_copies`.
    """
    named = oldest_first(copies)
    found = [message for message in named if is_own(message, own)]
    if named and not found:
        if not to_read:
            raise refusal(named[0], own)
        found = named
    if not found:
        chosen = "" if own.pipeline == PIPELINE else f" --pipeline {own.pipeline}"
        raise ProcessingError(
            f"no poison message with the id {text!r} is in the queue; `poison list{chosen}` lists "
            "the ids"
        )
    if len(found) > 1:
        ids = "".join(f"\n  {message.id} of {message.source.identity.app}" for message in found)
        raise ProcessingError(
            f"{len(found)} poison messages have an id that ends with {text!r}; give a longer part "
            f"of the id:{ids}"
        )
    event = found[0].source, found[0].id
    return [message for message in copies if (message.source, message.id) == event]


async def _known(index: PoisonIndex, text: str) -> list[IndexEntry]:
    """Return the entries that have the id; none if the index may lack some of them."""
    try:
        if (await index.state()).built_at is None:
            return []
        entries = await index.of_id(text)
    except StorageUnavailableError:
        return []
    return list(entries) if len(entries) < PAGE_ENTRIES else []


async def _confirmed(
    reader: PoisonReader, index: PoisonIndex, entries: list[IndexEntry]
) -> list[PoisonMessage]:
    """Return the messages of those entries whose receipts the queue confirms."""
    held: list[Received] = []
    try:
        for entry in entries:
            if not entry.receipt:
                continue  # a redrive holds the message
            taken = await reader.take(entry)
            if isinstance(taken, Received):
                held.append(taken)
    finally:
        await put_back(reader, held)
        with suppress(StorageUnavailableError):  # the next comparison finds the receipts
            await index.set_receipts({each.name: each.receipt for each in held})
    return [each.message for each in held]
