"""Shutdown of BatchProcessor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from breaker import (
    Permit,
)
from processing.batch import shutdown
from processing.batch.shutdown import wait_idle
from processing.errors import (
    DependencyUnavailableError,
    PoisonEventError,
    ShutdownError,
)
from processing.event import Event, Source
from processing.handlers.retry import RetryPolicy
from processing.handlers.time_limit import TimeLimit
from processing.poison.message import PoisonMessage
from processing.progress.memory import MemoryProgressStore
from processing.progress.store import Mark
from tests.support.processing.events import SOURCE, batch, event
from tests.support.processing.processor_rig import keyed, parts, trip


async def test_shutdown_stops_before_the_next_event() -> None:
    """The event in flight finishes, and the batch raises ShutdownError."""
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(_each: Event) -> None:
        started.set()
        await release.wait()

    async with parts(slow) as made:
        running = asyncio.create_task(made.processor.process(batch(keyed("a", "a"))))
        await started.wait()
        made.processor.stop()
        release.set()
        with pytest.raises(ShutdownError):
            await running
        assert made.handled == [0]
        assert (await made.progress.load(SOURCE)).watermark == Mark(0, event(0).enqueued_ms)
        await made.processor.wait_idle()


async def test_shutdown_leaves_an_event_between_two_attempts_unfinished() -> None:
    """The event is neither poisoned nor counted as a failure."""
    failed = asyncio.Event()

    async def fail(_each: Event) -> None:
        failed.set()
        raise LookupError("x")

    async with parts(
        fail, settings={"retry_initial_seconds": 3600, "retry_max_seconds": 3600}
    ) as m:
        running = asyncio.create_task(m.processor.process(batch(keyed("a", "a"))))
        await failed.wait()
        await asyncio.sleep(0)
        m.processor.stop()
        with pytest.raises(ShutdownError):
            await running
        assert (m.handled, m.poisoned) == ([], [])
        assert (await m.breaker.refresh()).failures == 0


async def test_shutdown_returns_the_half_open_permit() -> None:
    """Recovery must not wait until the permit of the stopped instance expires."""
    failed = asyncio.Event()

    async def fail(_each: Event) -> None:
        failed.set()
        raise LookupError("x")

    async with parts(
        fail,
        settings={"retry_initial_seconds": 3600, "retry_max_seconds": 3600},
        breaker_settings={"half_open_permits": 1},
    ) as made:
        await trip(made.breaker)
        await made.breaker.approve(1, "op")
        running = asyncio.create_task(made.processor.process(batch(keyed("a"))))
        await failed.wait()
        await asyncio.sleep(0)
        made.processor.stop()
        with pytest.raises(ShutdownError):
            await running
        assert (await made.breaker.try_acquire()).probe_id


async def test_shutdown_returns_the_permit_of_a_held_event() -> None:
    """The event's first probe has opened the circuit again, so the event holds a second permit."""
    pauses = 0

    async def down(_each: Event) -> None:
        raise DependencyUnavailableError("down")

    async def pause(seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 2:
            made.processor.stop()
        await made.processor.parts.gate.pause(seconds)

    async with parts(
        down, settings={"hold_seconds": 60.0}, breaker_settings={"half_open_permits": 1}
    ) as made:
        retry = RetryPolicy(max_attempts=2, initial_seconds=0, max_seconds=0, sleep=pause)
        made.processor.parts = replace(made.processor.parts, retry=retry)
        await trip(made.breaker)
        await made.breaker.approve(1, "op")
        running = asyncio.create_task(made.processor.process(batch(keyed("a"))))
        while made.breaker.circuit.generation < 2:
            await asyncio.sleep(0)
        await made.breaker.approve(2, "op")
        with pytest.raises(ShutdownError):
            await running
        assert (await made.breaker.try_acquire()).probe_id


async def test_permit_that_arrives_after_the_shutdown_is_returned() -> None:
    """The late permit starts no event."""
    async with parts(breaker_settings={"half_open_permits": 1}) as made:
        await trip(made.breaker)
        await made.breaker.approve(1, "op")
        try_acquire = made.breaker.try_acquire

        async def late() -> Permit:
            permit = await try_acquire()
            made.processor.stop()
            return permit

        made.breaker.try_acquire = late  # type: ignore[method-assign]
        with pytest.raises(ShutdownError):
            await made.processor.process(batch(keyed("a")))
        assert made.handled == []
        assert (await try_acquire()).probe_id


async def test_stopping_instance_takes_no_partition() -> None:
    """A batch that is redelivered to the instance must not end another instance's ownership."""
    async with parts() as made:
        owner = (await made.progress.open(SOURCE)).owner
        made.processor.stop()
        with pytest.raises(ShutdownError):
            await made.processor.process(batch(keyed("a")))
        assert await made.progress.commit(SOURCE, owner, None, [])
        await made.processor.wait_idle()


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

    async with parts(ignore_cancellation, settings={"handler_timeout_seconds": 0.001}) as made:
        limited = TimeLimit(0.001).limited(made.processor.parts.handle)
        made.processor.parts = replace(made.processor.parts, handle=limited)
        running = asyncio.create_task(made.processor.process(batch(keyed("a", "a"))))
        await started.wait()
        made.processor.stop()
        async with asyncio.timeout(10):
            await wait_idle(made.processor)
        assert "Handler tests:handler has not ended within 0.002 s" in caplog.text
        assert not running.done()
        release.set()
        with pytest.raises(ShutdownError):
            await running
        assert made.handled == [0]
        caplog.clear()
        await wait_idle(made.processor)
        assert caplog.text == ""


async def test_shutdown_waits_for_a_handler_without_a_time_limit() -> None:
    """A handler without a limit may take any time."""
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(_each: Event) -> None:
        started.set()
        await release.wait()

    async with parts(slow, settings={"handler_timeout_seconds": 0}) as made:
        running = asyncio.create_task(made.processor.process(batch(keyed("a"))))
        await started.wait()
        made.processor.stop()
        ending = asyncio.create_task(wait_idle(made.processor))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not ending.done()
        release.set()
        await asyncio.gather(running, ending)
        assert made.handled == [0]


class SlowProgress(MemoryProgressStore):
    """A progress store whose commits wait until they are released."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.release = asyncio.Event(), asyncio.Event()

    async def commit(
        self, source: Source, owner: int, watermark: Mark | None, finished: Sequence[Mark]
    ) -> bool:
        self.begun.set()
        await self.release.wait()
        return await super().commit(source, owner, watermark, finished)


@pytest.mark.parametrize("mode", ["strict", "relaxed"])
async def test_shutdown_waits_until_finished_events_are_written(mode: str) -> None:
    """Another instance would handle the events again, so the handler's limit does not apply."""
    slow = SlowProgress()
    settings = {"handler_timeout_seconds": 0.001, "progress_mode": mode}
    async with parts(settings=settings, progress=slow) as made:
        running = asyncio.create_task(made.processor.process(batch(keyed("a", "a"))))
        await slow.begun.wait()
        made.processor.stop()
        ending = asyncio.create_task(wait_idle(made.processor))
        await asyncio.sleep(0.02)  # ten times the wait for a handler
        assert not ending.done()
        slow.release.set()
        async with asyncio.timeout(10):
            await ending
        with suppress(ShutdownError):
            await running
        known = await slow.load(SOURCE)
        assert known.finished_among(keyed("a", "a")) == keyed("a", "a")[: len(made.handled)]


async def test_finished_event_counts_as_being_written_at_once() -> None:
    """The write itself may begin later, with the completions of other events."""
    writing: list[bool] = []

    async def note(_each: Event) -> None:
        writing.append(made.processor.writing)

    async with parts(note, settings={"progress_mode": "relaxed"}) as made:
        await made.processor.process(batch(keyed("a", "a")))
        assert writing == [False, True]
        assert not made.processor.writing


async def test_shutdown_waits_until_a_poisoned_event_is_stored() -> None:
    """Another instance would repeat all attempts of the event."""
    begun, release = asyncio.Event(), asyncio.Event()

    async def poison(_each: Event) -> None:
        raise PoisonEventError("bad")

    async with parts(poison, settings={"handler_timeout_seconds": 0.001}) as made:
        put = made.poison.put

        async def slow(message: PoisonMessage) -> None:
            begun.set()
            await release.wait()
            await put(message)

        made.poison.put = slow  # type: ignore[method-assign]
        running = asyncio.create_task(made.processor.process(batch(keyed("a"))))
        await begun.wait()
        made.processor.stop()
        ending = asyncio.create_task(wait_idle(made.processor))
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
    async with parts(settings={"handler_timeout_seconds": 0.001}, progress=slow) as made:
        running = asyncio.create_task(made.processor.process(batch(keyed("a"))))
        await slow.begun.wait()
        made.processor.stop()
        async with asyncio.timeout(10):
            await wait_idle(made.processor)
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

    async with parts(
        ignore_cancellation, settings={"handler_timeout_seconds": 0.001}, progress=slow
    ) as made:
        running = asyncio.create_task(made.processor.process(batch(keyed("a", "b"))))
        await slow.begun.wait()
        made.processor.stop()
        ending = asyncio.create_task(wait_idle(made.processor))
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
    async with parts(settings={"hold_seconds": 3600.0}) as made:
        await trip(made.breaker)
        running = asyncio.create_task(made.processor.process(batch(keyed("a"))))
        for _ in range(10):
            await asyncio.sleep(0)
        made.processor.stop()
        with pytest.raises(ShutdownError):
            await running
