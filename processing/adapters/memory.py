"""In-memory twins of the adapters, for unit tests and for trying things out."""

from __future__ import annotations

from collections.abc import Sequence

from processing.event import Source
from processing.poison import PoisonMessage
from processing.progress import Mark, Progress


class MemoryProgressStore:
    """Progress in a dictionary; lost with the process."""

    def __init__(self) -> None:
        self._known: dict[Source, Progress] = {}

    async def load(self, source: Source) -> Progress:
        """See `ProgressStore.load`."""
        return self._known.get(source, Progress())

    async def commit(
        self, source: Source, watermark: Mark | None, finished: Sequence[Mark]
    ) -> None:
        """See `ProgressStore.commit`."""
        known = self._known.get(source, Progress())
        highest = known.watermark
        if watermark is not None and (
            highest is None or watermark.sequence_number > highest.sequence_number
        ):
            highest = watermark
        above = dict(known.finished) | {mark.sequence_number: mark.enqueued_ms for mark in finished}
        if highest is not None:
            above = {seq: ms for seq, ms in above.items() if seq > highest.sequence_number}
        self._known[source] = Progress(highest, above)

    async def reset(self, source: Source) -> None:
        """See `ProgressStore.reset`."""
        self._known.pop(source, None)


class MemoryPoisonQueue:
    """Poison messages in a list."""

    def __init__(self) -> None:
        self.messages: list[PoisonMessage] = []

    async def put(self, message: PoisonMessage) -> None:
        """See `PoisonQueue.put`."""
        self.messages.append(PoisonMessage.from_json(message.to_json()))
