"""The handler that harms its process, in a process of its own on real Redis."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from loadtest.handlers.harmful import HarmfulHandler, PlainHarmfulHandler
from tests.support.patience import HANG_SECONDS
from tests.support.processing.events import event

_processes = multiprocessing.get_context("forkserver")


def handle(redis_url: str, simulate: str, *, plain: bool = False) -> None:
    """Handle one event, and exit with 0."""
    properties = {"run": "r", "counter": 1, "simulate": simulate, "milliseconds": 1}
    received = event(1, "k", properties=properties)

    async def once() -> None:
        if plain:
            in_threads = PlainHarmfulHandler.from_settings({"REDIS_URL": redis_url})
            await asyncio.to_thread(in_threads, received)
            await in_threads.aclose()
        else:
            handler = HarmfulHandler.from_settings({"REDIS_URL": redis_url})
            await handler(received)
            await handler.aclose()

    asyncio.run(once())


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


async def ended(redis_url: str, simulate: str, *, plain: bool = False) -> int | None:
    """Return the exit code of a process that handled one event."""
    process = _processes.Process(target=handle, args=(redis_url, simulate), kwargs={"plain": plain})
    process.start()
    await asyncio.to_thread(process.join, HANG_SECONDS)
    return process.exitcode


@pytest.mark.parametrize(("simulate", "plain"), [("block", False), ("slow", True)])
async def test_harmless_event_is_appended(
    redis_url: str, redis: Any, simulate: str, plain: bool
) -> None:
    assert await ended(redis_url, simulate, plain=plain) == 0
    assert await redis.llen("ledger:{r}:key:k") == 1
    assert not await redis.exists("ledger:{r}:deaths")


async def test_killing_event_ends_its_process_each_time(redis_url: str, redis: Any) -> None:
    """The ledger counts the deaths, and never has the event."""
    for deaths in (1, 2):
        assert await ended(redis_url, "kill") == -signal.SIGKILL
        assert await redis.get("ledger:{r}:deaths") == str(deaths)
    assert not await redis.exists("ledger:{r}:key:k")


async def test_seizing_event_holds_the_interpreter(redis_url: str, redis: Any) -> None:
    """The event is never handled, and the call never ends."""
    process = _processes.Process(target=handle, args=(redis_url, "seize"), kwargs={"plain": True})
    process.start()
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while not await redis.exists("ledger:{r}:deaths"):
                await asyncio.sleep(0.01)
        assert process.is_alive()
    finally:
        process.kill()
        await asyncio.to_thread(process.join, HANG_SECONDS)
    assert process.exitcode == -signal.SIGKILL
    assert not await redis.exists("ledger:{r}:key:k")
