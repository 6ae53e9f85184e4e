"""Lists of all messages of a poison queue."""

from __future__ import annotations

from processing.poison.message import PoisonMessage
from processing.poison.queue import PoisonReader, Received, oldest_first, put_back


async def browse(reader: PoisonReader) -> list[PoisonMessage]:
    """Return all messages that no reader holds, one per event, oldest first."""
    return oldest_first(await browse_copies(reader))


async def browse_copies(reader: PoisonReader) -> list[PoisonMessage]:
    """Return all messages that no reader holds, also several messages of one event."""
    held: list[Received] = []
    while some := await reader.receive():
        held += some
    await put_back(reader, held)
    return [each.message for each in held]
