"""Vitals of the function app: each instance's numbers of a second, merged into one row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from redis.asyncio import Redis, RedisCluster

from console.errors import BackplaneError
from processing.errors import StorageUnavailableError
from processing.monitoring.redis_vitals import RedisVitalsReader
from processing.monitoring.vitals import VitalsEntry

GONE_SECONDS = 12.0
"""An instance that has written nothing for this long is not counted any more."""

type Numbers = dict[str, Any]


class VitalsSource(Protocol):
    """Source of the vitals that the app's instances write."""

    async def behind(self, cursor: str) -> list[VitalsEntry]:
        """Return the entries after a cursor.

        Raises:
            BackplaneError: the source cannot be read.
        """
        ...

    async def end(self) -> str:
        """Return the cursor of the last entry.

        Raises:
            BackplaneError: the source cannot be read.
        """
        ...


class NoVitals:
    """Source of an app that writes no vitals."""

    async def behind(self, cursor: str) -> list[VitalsEntry]:
        """See `VitalsSource.behind`."""
        return []

    async def end(self) -> str:
        """See `VitalsSource.end`."""
        return "0-0"


class RedisVitals:
    """Source over the Redis stream that the function app's instances write to.

    Args:
        client: Redis client, which the caller closes.
        circuit: the circuit's name.
        app: names the app, see `RedisVitalsReader`.
    """

    def __init__(self, client: Redis | RedisCluster, circuit: str, app: str = "") -> None:
        self._reader = RedisVitalsReader(client, circuit, app)

    async def behind(self, cursor: str) -> list[VitalsEntry]:
        """See `VitalsSource.behind`."""
        try:
            return await self._reader.behind(cursor)
        except StorageUnavailableError as error:
            raise BackplaneError(f"the app's vitals cannot be read: {error}") from error

    async def end(self) -> str:
        """See `VitalsSource.end`."""
        try:
            return await self._reader.end()
        except StorageUnavailableError as error:
            raise BackplaneError(f"the app's vitals cannot be read: {error}") from error


def merge(
    vitals: Iterable[VitalsEntry],
    *,
    seconds: float,
    instances: int,
    holding: Iterable[float],
    problems: Iterable[str] = (),
) -> Numbers:
    """Merge the entries of `seconds` into one row.

    Args:
        vitals: entries of all instances.
        seconds: seconds since the previous row.
        instances: number of running instances.
        holding: for each instance the last reported share of time on hold.
        problems: for each instance what is wrong with its handler, or "".
    """
    names = ("handled", "poisoned", "parked", "replayed", "failures")
    sums: dict[str, int] = dict.fromkeys(names, 0)
    latency: dict[int, int] = {}
    for entry in vitals:
        for name in sums:
            sums[name] += int(entry.numbers.get(name, 0))
        for power, count in entry.numbers.get("latency", {}).items():
            latency[int(power)] = latency.get(int(power), 0) + int(count)
    shares = list(holding)
    return {
        **sums,
        "per_second": round(sums["handled"] / seconds, 1) if seconds > 0 else 0.0,
        "p50_ms": quantile(latency, 0.50),
        "p99_ms": quantile(latency, 0.99),
        "holding": round(sum(shares) / len(shares), 3) if shares else 0.0,
        "instances": instances,
        "problem": next(filter(None, problems), ""),
    }


def quantile(latency: dict[int, int], share: float) -> float | None:
    """Return a quantile of the calls' duration in milliseconds; None without calls.

    Bucket k counts the calls that took at least 2^(k-1) and less than 2^k microseconds. The result
    assumes that the calls are spread evenly within a bucket.
    """
    total = sum(latency.values())
    if not total:
        return None
    wanted = share * total
    below = 0
    for power in sorted(latency):
        count = latency[power]
        if below + count >= wanted:
            low, high = (0.0 if power <= 0 else 2.0 ** (power - 1)), 2.0**power
            return round((low + (high - low) * (wanted - below) / count) / 1000, 3)
        below += count
    return round(2.0 ** max(latency) / 1000, 3)
