"""Vital signs: what one instance of the app did in the last second, for whoever watches the fleet.

Counting costs a handler's call next to nothing, and writing costs an event nothing at all: one
record a second goes out in a task of its own, and one that is not taken is dropped.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from processing.errors import StorageUnavailableError

logger = logging.getLogger(__name__)

LOOKS_A_SECOND = 4
IDLE_SECONDS = 5
POWERS = 48
"""Buckets of a handler's duration: bucket k counts calls of less than 2^k microseconds."""


def vitals_key(circuit: str) -> str:
    """The Redis stream that the instances of an app write to, one hash tag for all."""
    return f"processing:{{{circuit}}}:vitals"


class Vitals:
    """Counts of one instance since its last record.

    Threads of plain handlers do not come here: a call is counted on the event loop.
    """

    def __init__(self) -> None:
        self._latency = [0] * POWERS
        self._failures = 0
        self._poisoned = 0
        self._parked = 0
        self._looks = 0
        self._held = 0

    def called(self, seconds: float, failed: bool) -> None:
        """The handler was called, for so long."""
        self._latency[int(seconds * 1_000_000).bit_length()] += 1
        if failed:
            self._failures += 1

    def ended(self, outcomes: Mapping[str, int]) -> None:
        """A batch ended, with so many events by outcome."""
        self._poisoned += outcomes.get("poisoned", 0)
        self._parked += outcomes.get("parked", 0)

    def looked(self, holding: bool) -> None:
        """Whether the instance was holding just now."""
        self._looks += 1
        self._held += holding

    def drain(self) -> dict[str, Any]:
        """What was counted, as it is written; counting starts anew."""
        latency = {str(power): count for power, count in enumerate(self._latency) if count}
        calls = sum(latency.values())
        record = {
            "handled": calls - self._failures,
            "failures": self._failures,
            "poisoned": self._poisoned,
            "parked": self._parked,
            "holding": round(self._held / self._looks, 3) if self._looks else 0.0,
            "latency": latency,
        }
        Vitals.__init__(self)
        return record


async def write_vitals(
    vitals: Vitals,
    write: Callable[[str], Awaitable[None]],
    holding: Callable[[], bool],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Write a record each second in which something happened, and now and then without.

    Args:
        vitals: what is written, and counted anew.
        write: takes a record as JSON.
        holding: whether the instance holds its events back just now.
        sleep: pauses.
    """
    idle = IDLE_SECONDS  # the first look is worth a record: there is an instance
    while True:
        for _ in range(LOOKS_A_SECOND):
            await sleep(1 / LOOKS_A_SECOND)
            vitals.looked(holding())
        record = vitals.drain()
        idle += 1
        if not any(record.values()) and idle < IDLE_SECONDS:
            continue
        idle = 0
        try:
            await write(json.dumps(record, separators=(",", ":")))
        except StorageUnavailableError as error:
            logger.debug("a second's vitals are dropped: %s", error)
