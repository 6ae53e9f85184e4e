"""The store of crash loops in Redis.

Openings and events that run alone stand in the hash `state` of their partition's parked lists:
`opening` and `alone`. A version that does not know these fields leaves them as they are.
`replaying:<hash of the key's label>` beside the lists has the processes that replay a deferred key.
`breakwater:{<identity>}:alive` has the last heartbeat of each process, and
`breakwater:{<identity>}:found-dead` the time at which another process found a process dead.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES, explained
from processing.crashes.memory import MOST_RUNS
from processing.crashes.process import ProcessName
from processing.crashes.records import AloneRun, LastSeen, parsed
from processing.crashes.store import (
    FORGET_SECONDS,
    MOST_PROCESSES,
    REPLAY_TTL_SECONDS,
    SILENT_SECONDS,
)
from processing.errors import StorageUnavailableError
from processing.formats.keys import alive_key, found_dead_key
from processing.identity import Identity, Source
from processing.parking.event import ListKey, Position
from processing.parking.names import label_of
from processing.parking.redis_names import parking_keys, text_of

_SCRIPTS = Path(__file__).parent / "scripts"
_INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)


class RedisCrashStore:
    """A store of crash loops in Redis; see `CrashStore`.

    Args:
        client: a redis.asyncio client; the caller closes it.
        identity: the app whose processes have a heartbeat.
    """

    def __init__(self, client: Redis | RedisCluster, identity: Identity) -> None:
        self._client: Any = client
        self._alive = alive_key(identity)
        self._dead = found_dead_key(identity)
        self._close = client.register_script(_source("close"))
        self._open_replay = client.register_script(_source("open_replay"))
        self._alone = client.register_script(_source("alone"))
        self._beat = client.register_script(_source("beat"))
        self._is_silent = client.register_script(_source("is_silent"))
        self._found_dead = client.register_script(_source("found_dead"))
        self._last_seen = client.register_script(_source("last_seen"))

    async def close(self, source: Source, process: ProcessName) -> None:
        """See `CrashStore.close`."""
        await _reply(self._close(_state(source), [str(process)]))

    async def runs(self, source: Source, position: Position) -> Sequence[AloneRun]:
        """See `CrashStore.runs`."""
        found = await _reply(self._client.hget(*_state(source), "alone"))
        lines = text_of(found or "").splitlines()
        return [run for run in parsed(AloneRun, lines) if run.position == position]

    async def begin(self, source: Source, process: ProcessName, position: Position) -> None:
        """See `CrashStore.begin`."""
        await self._run(source, "begin", process, position)

    async def still_runs(self, source: Source, process: ProcessName, position: Position) -> None:
        """See `CrashStore.still_runs`."""
        await self._run(source, "alive", process, position)

    async def end(self, source: Source, process: ProcessName, position: Position = "") -> None:
        """See `CrashStore.end`."""
        await self._run(source, "end", process, position)

    async def forget(self, source: Source, position: Position) -> None:
        """See `CrashStore.forget`."""
        await self._run(source, "end", "", position)

    async def open_replay(
        self, source: Source, key: ListKey, process: ProcessName
    ) -> Sequence[ProcessName]:
        """See `CrashStore.open_replay`."""
        args: list[str | int] = [str(process), REPLAY_TTL_SECONDS, MOST_RUNS]
        found = await _reply(self._open_replay(_replay(source, key), args))
        return parsed(ProcessName, map(text_of, found))

    async def close_replay(
        self, source: Source, key: ListKey, process: ProcessName, *, moved: bool
    ) -> None:
        """See `CrashStore.close_replay`."""
        keys = _replay(source, key)
        await _reply(
            self._client.delete(*keys) if moved else self._client.zrem(*keys, str(process))
        )

    async def beat(self, process: ProcessName) -> None:
        """See `CrashStore.beat`."""
        args: list[str | int] = [str(process), FORGET_SECONDS, MOST_PROCESSES]
        await _reply(self._beat([self._alive, self._dead], args))

    async def found_dead(self, processes: Collection[ProcessName]) -> None:
        """See `CrashStore.found_dead`."""
        args: list[str | int] = [FORGET_SECONDS, MOST_PROCESSES, *map(str, processes)]
        await _reply(self._found_dead([self._dead], args))

    async def last_seen(self, first: int, last: int, *, found_dead_before: int) -> LastSeen:
        """See `CrashStore.last_seen`."""
        args = [first, last, found_dead_before]
        now, *found = await _reply(self._last_seen([self._alive, self._dead], args))
        return LastSeen(int(now), parsed(ProcessName, map(text_of, found)))

    async def is_silent(self, process: ProcessName) -> bool:
        """See `CrashStore.is_silent`."""
        args: list[str | int] = [str(process), round(SILENT_SECONDS * 1e6)]
        return bool(await _reply(self._is_silent([self._alive], args)))

    async def leave(self, process: ProcessName) -> None:
        """See `CrashStore.leave`."""
        await _reply(self._client.zrem(self._alive, str(process)))

    async def _run(
        self, source: Source, what: str, process: ProcessName | str, position: Position
    ) -> None:
        await _reply(self._alone(_state(source), [what, str(process), position, MOST_RUNS]))


def _state(source: Source) -> list[str]:
    return parking_keys(source, "state")


def _replay(source: Source, key: ListKey) -> list[str]:
    digest = hashlib.sha256(label_of(key).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return parking_keys(source, f"replaying:{digest}")


@cache
def _source(name: str) -> str:
    text = (_SCRIPTS / f"{name}.lua").read_text("utf-8")
    return _INCLUDE.sub(lambda part: (_SCRIPTS / f"{part[1]}.lua").read_text("utf-8"), text)


async def _reply(command: Awaitable[Any]) -> Any:
    try:
        return await command
    except FAILURES as error:
        raise StorageUnavailableError(f"store of crash loops: {explained(error)}") from error
