"""P4, the cost of a recorded failure in round trips, and in time compared with a bare PING."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from redis.asyncio import Redis

from benchmarks.commands import CommandCount, counted
from benchmarks.context import Context
from benchmarks.measuring import in_turn, interleaved, median, medians, spread
from benchmarks.peers.breakers import BREAKERS, guard, versions
from benchmarks.result import Check, Result
from benchmarks.services import redis_server
from benchmarks.subject import circuit_breaker
from breaker import BreakerSettings

CALLS = 100
NEVER = 1_000_000
TRIPS_AT = 5
RECORDERS = (1, 4, 16)
PING = "ping"


@dataclass(frozen=True, slots=True)
class _Commands:
    failure: float
    trip: float
    scripted: float


async def run(context: Context) -> Result:
    """Count and time recorded failures of Breakwater and its peers in rotation with PING."""
    peers = versions()
    rounds, calls = context.scaled(7, 2), context.scaled(300, 50)
    context.expect(len(BREAKERS) + rounds + 2 * len(RECORDERS) * (rounds + 1))
    async with (
        redis_server(context.directory) as url,
        Redis.from_url(url) as admin,
    ):
        commands = {}
        for name in BREAKERS:
            commands[name] = await _commands(name, url, admin)
            context.advance()
        per_call = await _times(url, rounds, calls, context.advance)
        throughput = await _throughput(url, rounds, calls, context.advance)
    ratios = [
        median(ours) / median(ping)
        for ours, ping in zip(per_call["breakwater"], per_call[PING], strict=True)
    ]
    ours = commands["breakwater"]
    each = {name: median([median(values) for values in lists]) for name, lists in per_call.items()}
    return Result(
        "P4",
        "a recorded failure",
        (
            Check("recorded failure ÷ bare PING, time", median(ratios), "≤", 1.4, "x"),
            Check("round trips per recorded failure", ours.failure, "=", 1, "round trips"),
            Check("round trips of the failure that opens", ours.trip, "=", 1, "round trips"),
        ),
        {f"{name}_us": seconds * 1e6 for name, seconds in each.items()}
        | {f"{name}_commands": count.failure for name, count in commands.items()}
        | {f"{name}_commands_to_trip": count.trip for name, count in commands.items()},
        {
            "rounds": rounds,
            "calls_per_round": calls,
            "ratio_of_each_round": ratios,
            "ratio_spread": spread(ratios),
            "counted": "commandstats of the server, split by MONITOR into commands sent by clients "
            "and commands called by scripts; Breakwater uses no pipeline here, so that each sent "
            "command is a round trip",
            "commands_inside_our_script": ours.scripted,
            "recorders_per_second": throughput,
            "interlock-cb": "shares only its state; each process counts failures by itself, "
            "without a command",
            "versions": peers,
        },
    )


async def _commands(name: str, url: str, admin: Redis) -> _Commands:
    async def failures() -> None:
        for _ in range(CALLS):
            await closed.fail()

    async def last_failure() -> None:
        await tripping.fail()
        await asyncio.sleep(0.1)  # commands that a library sends in the background count as well

    async with guard(name, url, NEVER) as closed:
        await closed.fail()
        recorded: CommandCount = await counted(admin, failures)
    async with guard(name, url, TRIPS_AT) as tripping:
        for _ in range(TRIPS_AT - 1):
            await tripping.fail()
        opened = await counted(admin, last_failure)
    return _Commands(
        recorded.total_sent / CALLS, opened.total_sent, recorded.scripted.total() / CALLS
    )


async def _times(
    url: str, rounds: int, calls: int, advance: Callable[[], None]
) -> dict[str, list[list[float]]]:
    """Return the seconds of single calls by round, rotating PING and the breakers."""
    measured: dict[str, list[list[float]]] = {}
    async with AsyncExitStack() as opened:
        bare = await opened.enter_async_context(Redis.from_url(url))
        contenders: dict[str, Callable[[], Awaitable[object]]] = {PING: bare.ping}
        for name in BREAKERS:
            contenders[name] = (await opened.enter_async_context(guard(name, url, NEVER))).fail
        await in_turn(contenders, 20)
        for _ in range(rounds):
            for name, seconds in (await in_turn(contenders, calls)).items():
                measured.setdefault(name, []).append(seconds)
            advance()
    return measured


async def _throughput(
    url: str, rounds: int, calls: int, advance: Callable[[], None]
) -> dict[str, dict[str, float]]:
    """Return the calls per second of 1, 4 and 16 concurrent tasks."""
    settings = BreakerSettings(name="throughput", failure_threshold=NEVER)
    async with (
        circuit_breaker(url, settings) as breaker,
        Redis.from_url(url) as bare,
    ):
        permit = await breaker.try_acquire()
        ids = itertools.count()

        async def record() -> None:
            await breaker.record_failure(str(next(ids)), "boom", permit)

        contenders = {}
        for tasks in RECORDERS:
            contenders[f"breakwater/{tasks}"] = _per_second(record, tasks, calls)
            contenders[f"{PING}/{tasks}"] = _per_second(bare.ping, tasks, calls)
        found = medians(await interleaved(contenders, rounds, advance))
    return {
        name: {str(tasks): found[f"{name}/{tasks}"] for tasks in RECORDERS}
        for name in ("breakwater", PING)
    }


def _per_second(
    call: Callable[[], Awaitable[object]], tasks: int, calls: int
) -> Callable[[], Awaitable[float]]:
    async def task() -> None:
        for _ in range(calls):
            await call()

    async def measure() -> float:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(task())
        return tasks * calls / (time.perf_counter() - started)

    return measure
