"""The search for one event's messages, by the index if possible."""

from __future__ import annotations

from contextlib import suppress

from processing.errors import OtherAppError, ProcessingError, StorageUnavailableError
from processing.identity import Identity
from processing.poison.index.entry import IndexEntry
from processing.poison.index.index import PAGE_ENTRIES, PoisonIndex
from processing.poison.message import PoisonMessage
from processing.poison.probing import is_gone
from processing.poison.queue import (
    PoisonReader,
    Received,
    copies_of_one,
    find_copies,
    put_back,
)


async def find_by_index(
    reader: PoisonReader, index: PoisonIndex, text: str, own: Identity, *, to_read: bool = False
) -> list[PoisonMessage]:
    """Return all messages of the app's event that has the id, as `find_copies` does.

    The index names the messages, and the queue confirms each of them. If the index cannot help, all
    messages of the queue are received.

    Raises:
        OtherAppError: only another app has a message with the id.
        ProcessingError: no message has the id, or several messages do, or somebody holds the
            message.
        StorageUnavailableError: the queue cannot be read.
    """
    entries = await _known(index, text)
    if entries and all(entry.is_whole for entry in entries):
        confirmed = await _confirmed(reader, index, entries)
        if len(confirmed) == len(entries):
            return copies_of_one(confirmed, text, own)
    try:
        return await find_copies(reader, text, own, to_read=to_read)
    except (OtherAppError, StorageUnavailableError):
        raise
    except ProcessingError as error:
        if held := [each for each in entries if not await is_gone(reader, each)]:
            raise ProcessingError(
                f"somebody holds the poison message of event {held[0].message.id}, such as a "
                "redrive or a list that is being read; try again in a moment"
            ) from error
        raise


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
