"""The poison queue of the console's tests."""

from __future__ import annotations

from contextlib import suppress

from azure.core.exceptions import ResourceNotFoundError

from processing.wiring import Wiring


async def empty(wiring: Wiring) -> None:
    """Empty the queue, also of messages that a comparison of the console holds, and the index."""
    with suppress(ResourceNotFoundError):  # the first message creates the queue
        await (await wiring.queue()).clear_messages()
    index = wiring.poison_index()
    while entries := (await index.page()).entries:
        await index.remove(entry.name for entry in entries)
