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
from tests.support.processing.processor_rig import keyed, open_rig


async def test_unavailable_poison_queue_fails_the_batch() -> None:
    """The poisoned event stays unfinished."""

    class Down:
        async def put(self, message: PoisonMessage) -> None:
            raise StorageUnavailableError("queue is down")

    async def poison(each: Event) -> None:
        if each.key == "bad":
            raise PoisonEventError("bad")

    async with open_rig(poison, settings={"hold_seconds": 0.0}) as rig:
        rig.processor.parts = replace(rig.processor.parts, poison=Down())
        with pytest.raises(StorageUnavailableError, match="queue is down"):
            await rig.processor.process(batch(keyed("ok", "bad", "bad")))
        progress = await rig.progress.load(SOURCE)
        assert progress.watermark == Mark(0, event(0).enqueued_ms)


async def test_relaxed_batch_ends_when_all_progress_is_written() -> None:
    """The lanes do not wait for the writes, but the checkpoint does."""
    async with open_rig(settings={"progress_mode": "relaxed"}) as rig:
        commit = rig.progress.commit

        async def slow(*args: Any) -> bool:
            for _ in range(50):
                await asyncio.sleep(0)
            return await commit(*args)

        rig.progress.commit = slow  # type: ignore[method-assign, assignment]
        await rig.processor.process(batch(keyed("a", "b", "a")))
        known = await rig.progress.load(SOURCE)
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

    async with open_rig(behave, settings={"hold_seconds": 0.0}) as rig:
        rig.processor.parts = replace(rig.processor.parts, poison=Down())
        with pytest.raises(StorageUnavailableError):
            await rig.processor.process(batch(keyed("bad", "ok", "ok", "ok")))
        assert rig.handled == [1]


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

    async with open_rig(poison) as rig:
        queue = Flaky()
        rig.processor.parts = replace(rig.processor.parts, poison=queue)
        result = await rig.processor.process(batch(keyed("a")))
        assert result.poisoned == 1
        assert len(queue.messages) == 1
