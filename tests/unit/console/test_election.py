"""Election: one reader at a time, replaced when it dies, silent once replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from console.backplane.coordination import READER, MemoryCoordination
from console.backplane.stream import MemoryBackplane
from console.reader import election as module
from console.reader.election import Election, Publish


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.005)


@asynccontextmanager
async def standing(
    name: str, coordination: MemoryCoordination, backplane: MemoryBackplane
) -> AsyncIterator[Election]:
    """Run an instance that publishes its name while it is the reader."""

    async def reader_task(publish: Publish) -> None:
        while True:
            await publish("tail", {"by": name})
            await asyncio.sleep(0.001)

    election = Election(coordination, backplane, (reader_task,))
    running = asyncio.create_task(election.run())
    try:
        yield election
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


async def test_another_instance_takes_over_when_the_reader_stops() -> None:
    """The stopped reader releases its lease, so the other instance need not wait."""
    coordination = MemoryCoordination(Clock())
    backplane = MemoryBackplane(coordination)
    async with standing("one", coordination, backplane) as one:
        await until(lambda: one.is_reader)
        async with standing("two", coordination, backplane) as two:
            await asyncio.sleep(0.03)
            assert (one.is_reader, two.is_reader) == (True, False)
    assert await coordination.holder(READER) == ""
    async with standing("two", coordination, backplane) as two:
        await until(lambda: two.is_reader)


async def test_lease_of_a_dead_reader_expires() -> None:
    """Before that the reader may only be slow, and is not replaced."""
    clock = Clock()
    coordination = MemoryCoordination(clock)
    backplane = MemoryBackplane(coordination)
    assert await coordination.acquire(READER, "dead", module.LEASE_SECONDS)
    async with standing("two", coordination, backplane) as two:
        clock.now = module.LEASE_SECONDS - 0.1
        await asyncio.sleep(0.03)
        assert not two.is_reader
        clock.now = module.LEASE_SECONDS
        await until(lambda: two.is_reader)


async def test_replaced_reader_publishes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader was paused for longer than its lease and resumes before the next renewal."""
    clock = Clock()
    coordination = MemoryCoordination(clock)
    backplane = MemoryBackplane(coordination)
    async with standing("one", coordination, backplane) as one:
        await until(lambda: one.is_reader)
        monkeypatch.setattr(module, "RENEW_SECONDS", 3_600.0)  # no renewal from here on
        await asyncio.sleep(0.02)
        clock.now += module.LEASE_SECONDS
        assert await coordination.acquire(READER, "two", module.LEASE_SECONDS)
        published = len(await backplane.latest(100_000))
        await asyncio.sleep(0.03)
        assert len(await backplane.latest(100_000)) == published
        assert published > 0


async def test_failed_reader_task_is_restarted(caplog: pytest.LogCaptureFixture) -> None:
    """One invalid reply must not stop the reader."""
    coordination = MemoryCoordination(Clock())
    attempts = 0

    others: list[str] = []

    async def reader_task(_: Publish) -> None:
        nonlocal attempts
        attempts += 1
        raise ValueError("an invalid reply")

    async def other_task(_: Publish) -> None:
        others.append("started")
        await asyncio.Event().wait()

    tasks = (reader_task, other_task)
    election = Election(coordination, MemoryBackplane(coordination), tasks)
    running = asyncio.create_task(election.run())
    await until(lambda: attempts >= 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert "reader_task failed; the task is restarted" in caplog.text
    assert others == ["started"], "one failed task must not end the others"
