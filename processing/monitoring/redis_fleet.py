"""The fleet's view of the partitions in Redis.

All keys have the prefix `breakwater:{<identity>}:`.

- `reports`: hash, instance to the states that the instance reports
- `watermarks`: hash, partition to its watermark, since when it has not changed, and when last seen
- `survey`: string, the instance that surveys the partitions
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES, explained
from processing.errors import StorageUnavailableError
from processing.identity import Identity
from processing.monitoring.fleet import (
    GAP_SECONDS,
    OLD_SECONDS,
    aged,
    states_from_json,
    states_to_json,
)
from processing.monitoring.partition_state import PartitionState

_SCRIPTS = Path(__file__).parent / "scripts"
_OLD_MS = int(OLD_SECONDS * 1000)


class RedisFleetStates:
    """A store of the fleet's view in Redis; see `FleetStates`.

    Args:
        client: a redis.asyncio client; the caller closes it.
        identity: the app whose partitions are watched.
    """

    def __init__(self, client: Redis | RedisCluster, identity: Identity) -> None:
        self._client: Any = client

        def script(name: str) -> Any:
            return client.register_script((_SCRIPTS / f"{name}.lua").read_text())

        self._report, self._reports = script("report"), script("reports")
        self._observe, self._take_turn = script("observe"), script("take_turn")
        prefix = f"breakwater:{{{identity}}}:"
        self._reports_key = f"{prefix}reports"
        self._watermarks_key = f"{prefix}watermarks"
        self._survey_key = f"{prefix}survey"

    async def report(self, instance: str, states: Sequence[PartitionState]) -> None:
        """See `FleetStates.report`."""
        args = [instance, states_to_json(states), _OLD_MS]
        await _reply(self._report(keys=[self._reports_key], args=args))

    async def reports(self) -> list[PartitionState]:
        """See `FleetStates.reports`."""
        found = await _reply(self._reports(keys=[self._reports_key], args=[_OLD_MS]))
        return [
            aged(state, bytes(instance).decode(), age / 1000)
            for instance, age, states in zip(found[::3], found[1::3], found[2::3], strict=True)
            for state in states_from_json(bytes(states))
        ]

    async def observe(self, watermarks: Mapping[str, int | None]) -> Mapping[str, float]:
        """See `FleetStates.observe`."""
        args: list[str | int] = [int(GAP_SECONDS * 1000)]
        for partition, watermark in watermarks.items():
            args += [partition, "" if watermark is None else watermark]
        ages = await _reply(self._observe(keys=[self._watermarks_key], args=args))
        return {each: age / 1000 for each, age in zip(watermarks, ages, strict=True)}

    async def take_turn(self, instance: str) -> bool:
        """See `FleetStates.take_turn`."""
        return bool(
            await _reply(self._take_turn(keys=[self._survey_key], args=[instance, _OLD_MS]))
        )


async def _reply(command: Awaitable[Any]) -> Any:
    try:
        return await command
    except FAILURES as error:
        raise StorageUnavailableError(f"states of the partitions: {explained(error)}") from error
