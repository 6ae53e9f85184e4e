"""BatchProcessor while the poison queue or the progress store is slow or unavailable."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from processing.errors import (
    PoisonEventError,
    StorageUnavailableError,
)
from processing.event import Event
from processing.poison.memory import MemoryPoisonQueue
from processing.poison.message import PoisonMessage
from processing.progress.store import Mark
from tests.support.processing.events import SOURCE, batch, event
from tests.support.processing.processor_rig import keyed, parts


async def test_unavailable_poison_queue_fails_the_batch() -> None:
    """The poisoned event stays unfinished."""

    class Down:
        async def put(self, message: PoisonMessage) -> None:
            raise StorageUnavailableError("queue is down")

    async def poison(each: Event) -> None:
        if each.key == "bad":
            raise PoisonEventError("bad")

    async with parts(poison, settings={"hold_seconds": 0.0}) as made:
        made.processor.parts = replace(made.processor.parts, poison=Down())
        with pytest.raises(StorageUnavailableError, match="queue is down"):
            await made.processor.process(batch(keyed("ok", "bad", "bad")))
        progress = await made.progress.load(SOURCE)
        assert progress.watermark == Mark(0, event(0).enqueued_ms)


async def test_relaxed_batch_ends_when_all_progress_is_written() -> None:
    """The lanes do not wait for the writes, but the checkpoint does."""
    async with parts(settings={"progress_mode": "relaxed"}) as made:
        commit = made.progress.commit

        async def slow(*args: Any) -> bool:
            for _ in range(50):
                await asyncio.sleep(0)
            return await commit(*args)

        made.progress.commit = slow  # type: ignore[method-assign, assignment]
        await made.processor.process(batch(keyed("a", "b", "a")))
        known = await made.progress.load(SOURCE)
        assert known.watermark == Mark(2, event(2).enqueued_ms)


async def test_failed_lane_stops_the_other_lanes() -> None:
    """The other lanes finish their events in flight and start no further event."""
    failed = asyncio.Event()

    class Down:
        async def put(self, message: PoisonMessage) -> None:
            await asyncio.sleep(0)  # the other lane starts its first event
            failed.set()
            raise StorageUnavailableError("queue is down")

    async def behave(each: Event) -> None:
        if each.key == "bad":
            raise PoisonEventError("bad")
        await failed.wait()
        for _ in range(50):  # long enough for the failed lane to end
            await asyncio.sleep(0)

    async with parts(behave, settings={"hold_seconds": 0.0}) as made:
        made.processor.parts = replace(made.processor.parts, poison=Down())
        with pytest.raises(StorageUnavailableError):
            await made.processor.process(batch(keyed("bad", "ok", "ok", "ok")))
        assert made.handled == [1]


async def test_write_is_retried_during_a_short_storage_outage() -> None:
    """The batch does not run again."""
    failures = 2

    class Flaky(MemoryPoisonQueue):
        async def put(self, message: PoisonMessage) -> None:
            nonlocal failures
            if failures:
                failures -= 1
                raise StorageUnavailableError("queue is down")
            await super().put(message)

    async def poison(_each: Event) -> None:
        raise PoisonEventError("bad")

    async with parts(poison) as made:
        queue = Flaky()
        made.processor.parts = replace(made.processor.parts, poison=queue)
        result = await made.processor.process(batch(keyed("a")))
        assert result.poisoned == 1
        assert len(queue.messages) == 1
