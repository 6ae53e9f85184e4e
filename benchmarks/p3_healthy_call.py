"""P3, the Redis commands per healthy call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from benchmarks.commands import counted, sent_per_second
from benchmarks.context import Context
from benchmarks.measuring import interleaved, medians, seconds_each
from benchmarks.peers.breakers import BREAKERS, guard, versions
from benchmarks.result import Check, Result
from benchmarks.services import redis_server
from benchmarks.subject import circuit_breaker
from breaker import BreakerSettings

CALLS = 200
NEVER = 1_000_000
BATCH = 1_000


async def run(context: Context) -> Result:
    """Count the commands of healthy calls of Breakwater and its peers in rotation."""
    peers = versions()
    rounds = context.scaled(5, 2)
    context.expect(len(BREAKERS) * (1 + rounds) + 2)
    async with (
        redis_server(context.directory) as url,
        Redis.from_url(url) as admin,
    ):
        commands = {}
        for name in BREAKERS:
            async with guard(name, url, NEVER) as made:
                await made.succeed()  # connects and makes the keys
                count = await counted(admin, _repeated(made.succeed, CALLS))
                commands[name] = count.total_sent / CALLS
            context.advance()
        timers = {name: _timer(name, url) for name in BREAKERS}
        seconds = await interleaved(timers, rounds, context.advance, warm_up=False)
        polling = await _polling(url, admin, context)
        context.advance()
        per_batch = await _with_ratio_rule(url, admin)
        context.advance()
    return Result(
        "P3",
        "a healthy call through the breaker",
        (Check("Redis commands per healthy event", commands["breakwater"], "=", 0, "commands"),),
        {f"{name}_commands": value for name, value in commands.items()}
        | {f"{name}_us": value * 1e6 for name, value in medians(seconds).items()},
        {
            "counted": "commandstats of the server, split by MONITOR into commands sent by clients "
            f"and commands called by scripts; {CALLS} calls each",
            "watcher_commands_per_second": polling,
            "ratio_rule_commands_per_event": per_batch / BATCH,
            "ratio_rule": f"successes are recorded once per batch of {BATCH:,}",
            "interlock-cb": "shares only its state; each process counts failures by itself",
            "versions": peers,
        },
    )


def _repeated(call: Callable[[], Awaitable[None]], times: int) -> Callable[[], Awaitable[None]]:
    async def repeat() -> None:
        for _ in range(times):
            await call()

    return repeat


def _timer(name: str, url: str) -> Callable[[], Awaitable[float]]:
    async def measure() -> float:
        async with guard(name, url, NEVER) as made:
            await made.succeed()
            return await seconds_each(made.succeed, CALLS)

    return measure


async def _polling(url: str, admin: Redis, context: Context) -> float:
    """Return the commands per second of an instance's watcher with default settings."""
    async with circuit_breaker(url, BreakerSettings(name="idle")):
        return await sent_per_second(admin, context.scaled(4, 2))


async def _with_ratio_rule(url: str, admin: Redis) -> float:
    """Return the commands per batch with the failure ratio rule."""
    settings = BreakerSettings(name="ratio", failure_ratio=0.5, poll_seconds=300)
    async with circuit_breaker(url, settings) as breaker:
        permit = await breaker.try_acquire()
        await breaker.record_successes(1, permit)

        async def batches() -> None:
            for _ in range(10):
                await breaker.try_acquire()
                await breaker.record_successes(BATCH, permit)

        return (await counted(admin, batches)).total_sent / 10
