"""The faults of a Redis with a replica: failovers, a replica that is gone, muted connections.

Each fault is watched in the health of all instances until they have recovered.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import redis.asyncio
from redis.exceptions import RedisError

from loadtest.errors import StackError
from loadtest.observe.instances import InstanceWatch
from loadtest.plan.chaos import FaultKind, PlannedFault
from loadtest.plan.redis_failover import OpenConnections
from loadtest.target.endpoints import Endpoints

_POLL_SECONDS = 0.02
_CHANGE_SECONDS = 30.0
"""The longest time in which a server must have taken its new role."""
_SEEN_SECONDS, _WATCHED_SECONDS = 15.0, 25.0
_TRAFFIC_SECONDS = 1.5
"""The time from the end of the sender's hold until the fault, which then hits events in flight."""
_PROBE = "loadtest:probe"


@dataclass(slots=True)
class RedisAbsence:
    """A time in which Redis took no writes of the app, or did not answer it.

    Attributes:
        kind: the fault.
        began_us: the beginning, microseconds by this machine's clock.
        ended_us: the time from which a new connection reached a Redis that takes writes.
        word: the word with which Redis refused writes; "" if it did not answer.
        named_us: instance → the time at which its health first named that word.
        degraded_us: instance → the time of the latest degraded report, 0 without one; only of the
            processes that have lived through the fault.
        well_us: instance → the times of all reports that were not degraded.
    """

    kind: FaultKind
    began_us: int
    ended_us: int = 0
    word: str = ""
    named_us: Mapping[str, int] = field(default_factory=dict)
    degraded_us: Mapping[str, int] = field(default_factory=dict)
    well_us: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The duration."""
        return (self.ended_us - self.began_us) / 1e6

    @property
    def text(self) -> str:
        """The instances that were degraded after the end, and those that have named the reason."""
        after = [(at_us - self.ended_us) / 1e6 for at_us in self.degraded_us.values() if at_us]
        named = [(at_us - self.began_us) / 1e6 for at_us in self.named_us.values()]
        found = f"of {len(self.degraded_us)} instances {len(after)} were degraded"
        if after:
            found += f", until {max(after):.1f} s after the end"
        if self.word:
            found += f"; {len(named)} named {self.word}"
        return found + (f" within {max(named):.1f} s" if named else "")


class RedisFailover:
    """The faults, of which only one happens at a time.

    Args:
        release: lets the sender continue after its next hold.

    Attributes:
        absences: the faults that are over.
    """

    def __init__(self, endpoints: Endpoints, release: Callable[[], None]) -> None:
        self.absences: list[RedisAbsence] = []
        self._endpoints = endpoints
        self._release = release
        self._one = asyncio.Lock()
        self._primary = 0

    async def fail_over(self, fault: PlannedFault) -> str:
        """Let the replica take over, and lead new connections to it after `fault.seconds`.

        No write is lost: the old primary takes no more writes until the replica has all of them.
        """
        fate = OpenConnections.of(fault.choice)
        async with self._watched(fault, "READONLY") as absence:
            old, new = self._primary, 1 - self._primary
            async with self._server(old) as before, self._server(new) as after:
                await self._take_over(before, after)
                await asyncio.sleep(fault.seconds)
                await self._ask("switch", to=new)
                if fate is not OpenConnections.STAY:
                    await self._ask("mute" if fate is OpenConnections.MUTED else "cut")
            absence.ended_us = _now_us()
            self._primary = new
        return (
            f"server {new} is the primary, and has the address {fault.seconds:g} s later; open "
            f"connections {fate}; {absence.text}"
        )

    async def lose_replica(self, fault: PlannedFault) -> str:
        """Take the replica away for `fault.seconds` from a primary that needs one."""
        async with self._watched(fault, "NOREPLICAS") as absence:
            async with self._server(0) as primary, self._server(1) as replica:
                await primary.config_set("min-replicas-to-write", 1)
                host, port = "127.0.0.1", primary.connection_pool.connection_kwargs["port"]
                try:
                    await _command(replica, "REPLICAOF", "NO", "ONE")
                    await _until(lambda: _refuses(primary), "the primary refuses writes")
                    await asyncio.sleep(fault.seconds)
                finally:
                    await _command(replica, "REPLICAOF", host, port)
                await _until(lambda: _takes(primary), "the primary takes writes")
            absence.ended_us = _now_us()
        return f"no replica for {absence.seconds:.1f} s; {absence.text}"

    async def mute(self, fault: PlannedFault) -> str:
        """Mute the open connections, and for `fault.seconds` the new ones, too."""
        async with self._watched(fault, "") as absence:
            count = (await self._ask("mute", new=fault.seconds > 0))["muted"]
            if fault.seconds > 0:
                await asyncio.sleep(fault.seconds)
                count += (await self._ask("mute"))["muted"]
            absence.ended_us = _now_us()
        return f"{count} connections; {absence.text}"

    @contextlib.asynccontextmanager
    async def _watched(self, fault: PlannedFault, word: str) -> AsyncIterator[RedisAbsence]:
        async with self._one, InstanceWatch(self._endpoints.state_dir, word or "\0") as watch:
            await watch.until_seen(_SEEN_SECONDS)
            there = frozenset(watch.running)
            self._release()
            await asyncio.sleep(_TRAFFIC_SECONDS)
            absence = RedisAbsence(fault.kind, _now_us(), word=word)
            yield absence
            await watch.until_well(absence.ended_us, _WATCHED_SECONDS)
            seen = {host.instance: each for host, each in watch.running.items() if host in there}
            absence.well_us = {name: tuple(each.all_well_us) for name, each in seen.items()}
            absence.degraded_us = {name: each.degraded_us for name, each in seen.items()}
            absence.named_us = {
                name: each.named_us[word] for name, each in seen.items() if word in each.named_us
            }
            self.absences.append(absence)

    async def _take_over(self, old: redis.asyncio.Redis, new: redis.asyncio.Redis) -> None:
        async def replicates() -> bool:
            return bool(await old.wait(1, 100))

        async def is_done() -> bool:
            before, after = await old.role(), await new.role()
            return bool(before[0] == b"slave" and after[0] == b"master")

        await _until(replicates, "the replica has the primary's data")
        port = new.connection_pool.connection_kwargs["port"]
        await _command(old, "FAILOVER", "TO", "127.0.0.1", port)
        await _until(is_done, "the replica is the primary")

    def _server(self, index: int) -> redis.asyncio.Redis:
        """Return a client of one server, past the proxy."""
        return redis.asyncio.Redis.from_url(self._endpoints.redis_servers[index])

    async def _ask(self, act: str, **body: Any) -> dict[str, Any]:
        url = f"{self._endpoints.redis_proxy_control_url}/{act}"
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(url, json=body)
        if answer.is_error:
            raise StackError(f"the Redis proxy refused {act}: {answer.status_code} {answer.text}")
        return dict(answer.json())


async def _command(client: redis.asyncio.Redis, *words: object) -> None:
    await client.execute_command(*words)  # type: ignore[no-untyped-call]


async def _refuses(client: redis.asyncio.Redis) -> bool:
    return not await _takes(client)


async def _takes(client: redis.asyncio.Redis) -> bool:
    try:
        await client.set(_PROBE, 1)
    except RedisError:
        return False
    return True


async def _until(condition: Callable[[], Any], what: str) -> None:
    try:
        async with asyncio.timeout(_CHANGE_SECONDS):
            while not await condition():  # noqa: ASYNC110 - in Redis
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise StackError(f"after {_CHANGE_SECONDS:g} s this is still not true: {what}") from None


def _now_us() -> int:
    return time.time_ns() // 1000
