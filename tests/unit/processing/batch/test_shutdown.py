"""Shutdown of BatchProcessor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from breaker import (
    Key,
    Permit,
)
from processing.batch import shutdown
from processing.batch.run import BatchRun
from processing.batch.shutdown import wait_idle
from processing.errors import (
    DependencyUnavailableError,
    PoisonEventError,
    ShutdownError,
)
from processing.event import Event
from processing.handlers.retry import RetryPolicy
from processing.handlers.time_limit import TimeLimit
from processing.identity import Source
from processing.poison.message import PoisonMessage
from processing.progress.memory import MemoryProgressStore
from processing.progress.store import Mark, SentMarks
from tests.support.processing.events import SOURCE, batch, event
from tests.support.processing.processor_rig import keyed, open_rig, trip


async def test_shutdown_stops_before_the_next_event() -> None:
    """The event in flight finishes, and the batch raises ShutdownError."""
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(_each: Event) -> None:
        started.set()
        await release.wait()

    async with open_rig(slow) as rig:
        running = asyncio.create_task(rig.processor.process(batch(keyed("a", "a"))))
        await started.wait()
        rig.processor.stop()
        release.set()
        with pytest.raises(ShutdownError):
            await running
        assert rig.handled == [0]
        assert (await rig.progress.load(SOURCE)).watermark == Mark(0, event(0).enqueued_ms)
        await rig.processor.wait_idle()


async def test_shutdown_leaves_an_event_between_two_attempts_unfinished() -> None:
    """The event is neither poisoned nor counted as a failure."""
    failed = asyncio.Event()

    async def fail(_each: Event) -> None:
        failed.set()
        raise LookupError("x")

    async with open_rig(
        fail, settings={"retry_initial_seconds": 3600, "retry_max_seconds": 3600}
    ) as rig:
        running = asyncio.create_task(rig.processor.process(batch(keyed("a", "a"))))
        await failed.wait()
        await asyncio.sleep(0)
        rig.processor.stop()
        with pytest.raises(ShutdownError):
            await running
        assert (rig.handled, rig.poisoned) == ([], [])
        assert (await rig.breaker.refresh()).failures == 0


async def test_shutdown_returns_the_half_open_permit() -> None:
    """Recovery must not wait until the permit of the stopped instance expires."""
    failed = asyncio.Event()

    async def fail(_each: Event) -> None:
        failed.set()
        raise LookupError("x")

    async with open_rig(
        fail,
        settings={"retry_initial_seconds": 3600, "retry_max_seconds": 3600},
        breaker_settings={"half_open_permits": 1},
    ) as rig:
        await trip(rig.breaker)
        await rig.breaker.approve(1, "op")
        running = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
        await failed.wait()
        await asyncio.sleep(0)
        rig.processor.stop()
        with pytest.raises(ShutdownError):
            await running
        assert (await rig.breaker.try_acquire()).probe_id


async def test_shutdown_returns_the_permit_of_a_held_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event was kept, and its next attempt is a probe."""
    pauses = 0

    async def down(_each: Event) -> None:
        raise DependencyUnavailableError("down")

    async def pause(run: BatchRun, seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 1:
            await trip(rig.breaker)
            await rig.breaker.approve(1, "op")
        else:
            rig.processor.stop()
        await wait(run, seconds)

    wait = BatchRun.pause
    monkeypatch.setattr(BatchRun, "pause", pause)
    async with open_rig(
        down, settings={"hold_seconds": 60.0}, breaker_settings={"half_open_permits": 1}
    ) as rig:
        retry = RetryPolicy(max_attempts=2, initial_seconds=0, max_seconds=0)
        rig.processor.parts = replace(rig.processor.parts, retry=retry)
        with pytest.raises(ShutdownError):
            await rig.processor.process(batch(keyed("a")))
        assert pauses == 2
        assert (await rig.breaker.try_acquire()).probe_id


async def test_permit_that_arrives_after_the_shutdown_is_returned() -> None:
    """The late permit starts no event."""
    async with open_rig(breaker_settings={"half_open_permits": 1}) as rig:
        await trip(rig.breaker)
        await rig.breaker.approve(1, "op")
        try_acquire = rig.breaker.try_acquire

        async def late(key: Key | None = None) -> Permit:
            permit = await try_acquire(key)
            rig.processor.stop()
            return permit

        rig.breaker.try_acquire = late  # type: ignore[method-assign]
        with pytest.raises(ShutdownError):
            await rig.processor.process(batch(keyed("a")))
        assert rig.handled == []
        assert (await try_acquire()).probe_id


async def test_stopping_instance_takes_no_partition() -> None:
    """A batch that is redelivered to the instance must not end another instance's ownership."""
    async with open_rig() as rig:
        owner = (await rig.store.claim(SOURCE)).owner
        rig.processor.stop()
        with pytest.raises(ShutdownError):
            await rig.processor.process(batch(keyed("a")))
        assert await rig.progress.commit(SOURCE, owner, None, [])
        await rig.processor.wait_idle()


async def test_handler_that_does_not_end_does_not_delay_the_shutdown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The key waits until the handler ends or the instance ends."""
    started, release = asyncio.Event(), asyncio.Event()

    async def ignore_cancellation(_each: Event) -> None:
        started.set()
        with suppress(asyncio.CancelledError):
            await release.wait()
        await release.wait()

    async with open_rig(ignore_cancellation, settings={"handler_timeout_seconds": 0.001}) as rig:
        limited = TimeLimit(0.001).limited(rig.processor.parts.handle)
        rig.processor.parts = replace(rig.processor.parts, handle=limited)
        running = asyncio.create_task(rig.processor.process(batch(keyed("a", "a"))))
        await started.wait()
        rig.processor.stop()
        async with asyncio.timeout(10):
            await wait_idle(rig.processor)
        assert "Handler tests:handler has not ended within 0.002 s" in caplog.text
        assert not running.done()
        release.set()
        with pytest.raises(ShutdownError):
            await running
        assert rig.handled == [0]
        caplog.clear()
        await wait_idle(rig.processor)
        assert caplog.text == ""


async def test_shutdown_waits_for_a_handler_without_a_time_limit() -> None:
    """A handler without a limit may take any time."""
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(_each: Event) -> None:
        started.set()
        await release.wait()

    async with open_rig(slow, settings={"handler_timeout_seconds": 0}) as rig:
        running = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
        await started.wait()
        rig.processor.stop()
        ending = asyncio.create_task(wait_idle(rig.processor))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not ending.done()
        release.set()
        await asyncio.gather(running, ending)
        assert rig.handled == [0]


class SlowProgress(MemoryProgressStore):
    """A progress store whose commits wait until they are released."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.release = asyncio.Event(), asyncio.Event()

    async def commit(
        self,
        source: Source,
        owner: int,
        watermark: Mark | None,
        finished: Sequence[Mark],
        sent: SentMarks | None = None,
    ) -> bool:
        self.begun.set()
        await self.release.wait()
        return await super().commit(source, owner, watermark, finished)


@pytest.mark.parametrize("mode", ["strict", "relaxed"])
async def test_shutdown_waits_until_finished_events_are_written(mode: str) -> None:
    """Another instance would handle the events again, so the handler's limit does not apply."""
    slow = SlowProgress()
    settings = {"handler_timeout_seconds": 0.001, "progress_mode": mode}
    async with open_rig(settings=settings, progress=slow) as rig:
        running = asyncio.create_task(rig.processor.process(batch(keyed("a", "a"))))
        await slow.begun.wait()
        rig.processor.stop()
        ending = asyncio.create_task(wait_idle(rig.processor))
        await asyncio.sleep(0.02)  # ten times the wait for a handler
        assert not ending.done()
        slow.release.set()
        async with asyncio.timeout(10):
            await ending
        with suppress(ShutdownError):
            await running
        known = await slow.load(SOURCE)
        assert known.finished_among(keyed("a", "a")) == keyed("a", "a")[: len(rig.handled)]


async def test_finished_event_counts_as_being_written_at_once() -> None:
    """The write itself may begin later, with the completions of other events."""
    writing: list[bool] = []

    async def note(_each: Event) -> None:
        writing.append(rig.processor.writing)

    async with open_rig(note, settings={"progress_mode": "relaxed"}) as rig:
        await rig.processor.process(batch(keyed("a", "a")))
        assert writing == [False, True]
        assert not rig.processor.writing


async def test_shutdown_waits_until_a_poisoned_event_is_stored() -> None:
    """Another instance would repeat all attempts of the event."""
    begun, release = asyncio.Event(), asyncio.Event()

    async def poison(_each: Event) -> None:
        raise PoisonEventError("bad")

    async with open_rig(poison, settings={"handler_timeout_seconds": 0.001}) as rig:
        put = rig.poison.put

        async def slow(message: PoisonMessage) -> None:
            begun.set()
            await release.wait()
            await put(message)

        rig.poison.put = slow  # type: ignore[method-assign]
        running = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
        await begun.wait()
        rig.processor.stop()
        ending = asyncio.create_task(wait_idle(rig.processor))
        await asyncio.sleep(0.02)  # ten times the wait for a handler
        assert not ending.done()
        release.set()
        async with asyncio.timeout(10):
            await ending
        assert (await running).poisoned == 1


async def test_shutdown_stops_waiting_for_a_write_that_does_not_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store never answers, and the log says what is not written."""
    monkeypatch.setattr(shutdown, "WRITE_SECONDS", 0.001)
    slow = SlowProgress()
    async with open_rig(settings={"handler_timeout_seconds": 0.001}, progress=slow) as rig:
        running = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
        await slow.begun.wait()
        rig.processor.stop()
        async with asyncio.timeout(10):
            await wait_idle(rig.processor)
        assert "completion of finished events was not written within 0.003 s" in caplog.text
        slow.release.set()
        await running


async def test_shutdown_stops_waiting_for_a_handler_once_all_is_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The handler keeps its invocation running, but only writes extend the shutdown's wait."""
    slow, release = SlowProgress(), asyncio.Event()

    async def ignore_cancellation(each: Event) -> None:
        while each.key == "b" and not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    async with open_rig(
        ignore_cancellation, settings={"handler_timeout_seconds": 0.001}, progress=slow
    ) as rig:
        running = asyncio.create_task(rig.processor.process(batch(keyed("a", "b"))))
        await slow.begun.wait()
        rig.processor.stop()
        ending = asyncio.create_task(wait_idle(rig.processor))
        await asyncio.sleep(0.02)  # ten times the wait for a handler
        assert not ending.done()
        slow.release.set()
        try:
            async with asyncio.timeout(10):
                await ending
        finally:
            release.set()
            await asyncio.gather(running, return_exceptions=True)
        assert "Handler tests:handler has not ended within 0.002 s" in caplog.text


async def test_shutdown_ends_a_hold() -> None:
    """A held batch must not delay the shutdown."""
    async with open_rig(settings={"hold_seconds": 3600.0}) as rig:
        await trip(rig.breaker)
        running = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
        for _ in range(10):
            await asyncio.sleep(0)
        rig.processor.stop()
        with pytest.raises(ShutdownError):
            await running
