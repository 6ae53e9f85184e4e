"""A question to the queue about a message, which changes nothing."""

from __future__ import annotations

from dataclasses import replace

from processing.errors import StorageUnavailableError
from processing.poison.index.entry import IndexEntry
from processing.poison.queue import PoisonReader, Refusal

_ANOTHER_RECEIPT = "AgAAAAMAAAAAAAAAAAAAAAAAAAA="


async def is_gone(reader: PoisonReader, entry: IndexEntry) -> bool:
    """Return whether the queue says that it has no such message.

    The receipt in the index may be its holder's own, and a call with it would take the message from
    the holder. So a wrong receipt is sent. The service may answer that a message is gone although
    somebody holds it, and may refuse the receipt's form; then the message counts as there.
    """
    wrong = entry.receipt[::-1]
    if wrong == entry.receipt:
        wrong = _ANOTHER_RECEIPT
    probe = replace(entry.with_receipt(wrong), is_whole=True)
    try:
        return await reader.take(probe) is Refusal.GONE
    except StorageUnavailableError:
        return False
