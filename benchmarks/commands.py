"""Redis commands, counted by Redis itself.

`INFO commandstats` counts every command that was executed, those that scripts make included. What a
client waits for is only what it sends itself, so MONITOR, in which Redis marks the calls of scripts
with "lua", tells the two apart. Both are taken at once and must agree.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

# What MONITOR does not show, or what counting itself makes.
_OURS = frozenset({"info", "monitor", "echo", "client", "hello", "auth", "select", "config"})

_QUIET_SECONDS, _QUIET_WITHIN_SECONDS = 0.1, 30.0


class CountError(Exception):
    """Redis's two accounts of what was executed differ."""


@dataclass(frozen=True, slots=True)
class CommandCount:
    """How many commands of each name.

    Attributes:
        sent: by clients: each is a round trip, or a share of one in a pipeline.
        scripted: made by scripts, without leaving the server.
    """

    sent: Counter[str]
    scripted: Counter[str]

    @property
    def total_sent(self) -> int:
        """Commands that clients sent."""
        return self.sent.total()


async def counted(admin: Redis, work: Callable[[], Awaitable[object]]) -> CommandCount:
    """Count the commands that `work` causes; nobody else may use the server during that.

    Args:
        admin: a client of its own, with one connection to spare.
        work: what to do.

    Raises:
        CountError: commandstats and MONITOR disagree.
        TimeoutError: somebody else keeps using the server.
    """
    await _until_quiet(admin)
    sentinel = secrets.token_hex(8)
    sent: Counter[str] = Counter()
    scripted: Counter[str] = Counter()
    async with admin.monitor() as monitor:
        before = await _stats(admin)
        await work()
        after = await _stats(admin)
        await admin.echo(sentinel)
        # redis-py's own reader of MONITOR has no type for its lines.
        async for line in cast("Any", monitor.listen()):
            words = line["command"].split()
            if words[0].lower() == "echo" and words[-1] == sentinel:
                break
            by_script = line["client_type"] == "lua"
            (scripted if by_script else sent)[words[0].lower()] += 1
    sent, scripted = without_ours(sent), without_ours(scripted)
    executed = without_ours(after - before)
    if sent + scripted != executed:
        raise CountError(f"commandstats says {executed}, MONITOR {sent} and by scripts {scripted}")
    return CommandCount(sent, scripted)


def without_ours(counts: Counter[str]) -> Counter[str]:
    """Leave out what counting and connecting cause."""
    return Counter({name: count for name, count in counts.items() if name not in _OURS})


async def sent_per_second(admin: Redis, seconds: float) -> float:
    """Commands per second that clients send while nothing is asked of them; no MONITOR needed."""
    before = await _stats(admin)
    await asyncio.sleep(seconds)
    idle = without_ours(await _stats(admin) - before)
    scripts = idle["evalsha"] + idle["eval"]
    return (scripts or idle.total()) / seconds


async def _until_quiet(admin: Redis) -> None:
    """Wait until nothing is executed any more: connecting and subscribing takes its time."""
    async with asyncio.timeout(_QUIET_WITHIN_SECONDS):
        before = without_ours(await _stats(admin))
        while True:
            await asyncio.sleep(_QUIET_SECONDS)
            after = without_ours(await _stats(admin))
            if after == before:
                return
            before = after


async def _stats(admin: Redis) -> Counter[str]:
    info: dict[str, dict[str, int]] = await admin.info("commandstats")
    return Counter(
        {
            name.removeprefix("cmdstat_").partition("|")[0]: stat["calls"]
            for name, stat in info.items()
        }
    )
