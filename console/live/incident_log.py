"""The incident log: where operators write to each other, and where their acts are put down."""

from __future__ import annotations

import time
from typing import Literal

from console.backplane.stream import LOG, Backplane

type LineKind = Literal["said", "approved", "closed", "isolated", "refused", "redrive", "discard"]

TEXT_CHARS = 2_000


class IncidentLog:
    """Writes lines; they come back to every browser over the backplane."""

    def __init__(self, backplane: Backplane) -> None:
        self._backplane = backplane

    async def write(self, kind: LineKind, by: str, text: str) -> str:
        """Write a line; its cursor.

        Raises:
            BackplaneError: it may not be written.
        """
        line = {"time": time.time_ns() // 1_000_000, "by": by, "kind": kind, "text": text}
        (cursor,) = await self._backplane.publish([(LOG, line)])
        return cursor
