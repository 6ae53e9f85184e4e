"""A counter of Redis commands that uses Redis's own statistics.

`INFO commandstats` counts every executed command, including commands called by scripts. A client
only waits for the commands that it sends. MONITOR marks the commands of scripts with "lua" and so
separates both kinds. The counter uses both sources, which must agree.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

# Commands that MONITOR does not show, or that counting causes.
_OURS = frozenset({"info", "monitor", "echo", "client", "hello", "auth", "select", "config"})

_QUIET_SECONDS, _QUIET_WITHIN_SECONDS = 0.1, 30.0


class CountError(Exception):
    """A difference between commandstats and MONITOR."""


@dataclass(frozen=True, slots=True)
class CommandCount:
    """The number of commands by name.

    Attributes:
        sent: commands sent by clients; each is a round trip, or a part of one in a pipeline.
        scripted: commands called by scripts inside the server.
    """

    sent: Counter[str]
    scripted: Counter[str]

    @property
    def total_sent(self) -> int:
        """The number of commands that clients sent."""
        return self.sent.total()


async def counted(admin: Redis, work: Callable[[], Awaitable[object]]) -> CommandCount:
    """Count the commands that `work` causes; no other program may use the server.

    Args:
        admin: a client that `work` does not use, with a second connection for MONITOR.
        work: the function to run.

    Raises:
        CountError: commandstats and MONITOR disagree.
        TimeoutError: another client keeps using the server.
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
        # redis-py has no type for the lines of MONITOR.
        async for line in cast("Any", monitor.listen()):
            words = line["command"].split()
            if words[0].lower() == "echo" and words[-1] == sentinel:
                break
            by_script = line["client_type"] == "lua"
            (scripted if by_script else sent)[words[0].lower()] += 1
    sent, scripted = without_ours(sent), without_ours(scripted)
    executed = without_ours(after - before)
    if sent + scripted != executed:
        raise CountError(
            f"commandstats counted {executed}, but MONITOR showed {sent} sent by clients and "
            f"{scripted} called by scripts"
        )
    return CommandCount(sent, scripted)


def without_ours(counts: Counter[str]) -> Counter[str]:
    """Return the counts without the commands that counting and connecting cause."""
    return Counter({name: count for name, count in counts.items() if name not in _OURS})


async def sent_per_second(admin: Redis, seconds: float) -> float:
    """Return the commands per second that idle clients send, without using MONITOR."""
    before = await _stats(admin)
    await asyncio.sleep(seconds)
    idle = without_ours(await _stats(admin) - before)
    scripts = idle["evalsha"] + idle["eval"]
    return (scripts or idle.total()) / seconds


async def _until_quiet(admin: Redis) -> None:
    """Wait until no commands are executed, because connecting and subscribing take time."""
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
