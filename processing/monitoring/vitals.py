"""Vitals: counts of one instance of the app in the last second, for the console.

A separate task writes one record per second, so that writing delays no event. A record that cannot
be written is dropped.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from processing.errors import StorageUnavailableError

logger = logging.getLogger(__name__)

SAMPLES_PER_SECOND = 4
IDLE_SECONDS = 5
POWERS = 48
"""Number of latency buckets; bucket k counts calls from 2^(k-1) to less than 2^k microseconds."""
_BUCKETS = frozenset(map(str, range(POWERS)))
_MOST = 2**53
"""Above this no float is exact, and no count of a second comes near."""


def vitals_key(circuit: str) -> str:
    """Return the key of the Redis stream that all instances of an app write to."""
    return f"processing:{{{circuit}}}:vitals"


@dataclass(frozen=True, slots=True)
class VitalsEntry:
    """A record of one instance, as read from the stream.

    Attributes:
        cursor: position in the stream.
        instance: name of the instance.
        numbers: handled, poisoned, parked, replayed, failures, holding, and `latency`: by k, the
            number of calls that took less than 2^k microseconds; also `problem`, a text, while the
            instance's handler is faulty or careful mode is on.
    """

    cursor: str
    instance: str
    numbers: Mapping[str, Any]

    @property
    def at(self) -> float:
        """Time of the record, seconds since the epoch by the clock of Redis."""
        return int(self.cursor.partition("-")[0]) / 1000


def readable_numbers(record: Any) -> dict[str, Any]:
    """Return the numbers of a record, and its problem; other values are left out.

    An instance of another version may write other values. What cannot be counted is no number
    here: NaN, infinity, numbers below 0 or above 2^53, and buckets that do not exist.
    """
    if not isinstance(record, dict):
        return {}
    found: dict[str, Any] = {
        name: value
        for name, value in record.items()
        if name not in {"problem", "latency"}
        and isinstance(value, int | float)
        and 0 <= value <= _MOST  # NaN is not
    }
    if isinstance(record.get("problem"), str):
        found["problem"] = record["problem"]
    if isinstance(latency := record.get("latency"), dict):
        found["latency"] = {
            power: count
            for power, count in latency.items()
            if power in _BUCKETS and isinstance(count, int) and 0 <= count <= _MOST
        }
    return found


class Vitals:
    """The counts of one instance since its last record.

    All methods run on the event loop, also for handlers that run in threads.
    """

    def __init__(self) -> None:
        self._latency = [0] * POWERS
        self._failures = 0
        self._poisoned = 0
        self._parked = 0
        self._replayed = 0
        self._samples = 0
        self._holding_samples = 0

    def record_call(self, seconds: float, failed: bool) -> None:
        """Count a call of the handler and its duration."""
        self._latency[int(seconds * 1_000_000).bit_length()] += 1
        if failed:
            self._failures += 1

    def record_outcomes(self, outcomes: Mapping[str, int]) -> None:
        """Count the poisoned, parked and replayed events of an ended batch or replay."""
        self._poisoned += outcomes.get("poisoned", 0)
        self._parked += outcomes.get("parked", 0)
        self._replayed += outcomes.get("replayed", 0)

    def sample(self, holding: bool) -> None:
        """Count a sample of whether the instance is holding."""
        self._samples += 1
        self._holding_samples += holding

    def drain(self) -> dict[str, Any]:
        """Return the record of all counts, and reset the counts to zero."""
        latency = {str(power): count for power, count in enumerate(self._latency) if count}
        calls = sum(latency.values())
        record = {
            "handled": calls - self._failures,
            "failures": self._failures,
            "poisoned": self._poisoned,
            "parked": self._parked,
            "replayed": self._replayed,
            "holding": round(self._holding_samples / self._samples, 3) if self._samples else 0.0,
            "latency": latency,
        }
        Vitals.__init__(self)
        return record


async def write_vitals(
    vitals: Vitals,
    write: Callable[[str], Awaitable[None]],
    holding: Callable[[], bool],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    problem: Callable[[], str | None] = lambda: None,
) -> None:
    """Write one record per second; an idle instance writes one every `IDLE_SECONDS`.

    Args:
        vitals: the counts; each record resets them.
        write: writes a record (JSON).
        holding: returns whether the instance is holding its events.
        sleep: pauses.
        problem: returns what is wrong with the instance or its handler, if anything is.
    """
    idle = IDLE_SECONDS  # the first record is always written: it shows a new instance
    while True:
        for _ in range(SAMPLES_PER_SECOND):
            await sleep(1 / SAMPLES_PER_SECOND)
            vitals.sample(holding())
        record = vitals.drain()
        if (text := problem()) is not None:
            record["problem"] = text
        idle += 1
        if not any(record.values()) and idle < IDLE_SECONDS:
            continue
        idle = 0
        try:
            await write(json.dumps(record, separators=(",", ":")))
        except StorageUnavailableError as error:
            logger.debug("One record of vitals was dropped: %s", error)
