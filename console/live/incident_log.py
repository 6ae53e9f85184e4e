"""The incident log: the operators' messages and a record of their actions."""

from __future__ import annotations

import time
from typing import Literal

from console.backplane.stream import LOG, Backplane

type LineKind = Literal[
    "said",
    "approved",
    "closed",
    "isolated",
    "refused",
    "redrive",
    "discard",
    "stop",
    "start",
    "rewind",
]

TEXT_CHARS = 2_000


class IncidentLog:
    """Writer of log lines, which the backplane delivers to every browser."""

    def __init__(self, backplane: Backplane) -> None:
        self._backplane = backplane

    async def write(self, kind: LineKind, by: str, text: str) -> str:
        """Write a line and return its cursor.

        Raises:
            BackplaneError: the backplane failed; the line may or may not be written.
        """
        line = {"time": time.time_ns() // 1_000_000, "by": by, "kind": kind, "text": text}
        (cursor,) = await self._backplane.publish([(LOG, line)])
        return cursor
