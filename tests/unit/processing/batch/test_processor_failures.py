"""Outcomes of events whose handler fails."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from processing.errors import (
    DependencyUnavailableError,
    PoisonEventError,
)
from processing.event import Event
from processing.formats.event_fields import key_hash
from processing.progress.store import Mark
from tests.support.processing.events import SOURCE, batch, event
from tests.support.processing.processor_rig import keyed, open_rig


async def test_final_failure_names_error_key_hash_and_own_frames(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log and the poison message lead to the line in the user's code."""

    async def refuse(each: Event) -> None:
        raise PoisonEventError(f"no order in {each.text()}")

    async with open_rig(refuse) as rig:
        await rig.processor.process(batch([event(0, "a", body=b"4929000000006")]))
        (frames,) = {message.error.frames for message in rig.poison.messages}
    assert frames[-1].startswith("tests/unit/processing/batch/test_processor_failures.py:")
    (line,) = [each for each in caplog.messages if "went to the poison queue" in each]
    assert line == (
        f"Event {event(0).id} went to the poison queue (attempts: 1): "
        f"processing.errors.PoisonEventError: no order in (…); key hash {key_hash('a')}; "
        f"at {', '.join(frames)}"
    )


async def test_poison_event_leaves_the_key_running() -> None:
    """The event goes to the poison queue at its first attempt."""

    async def poison(each: Event) -> None:
        if each.sequence_number == 1:
            raise PoisonEventError("no such order")

    async with open_rig(poison) as rig:
        result = await rig.processor.process(batch(keyed("a", "a", "a")))
        assert (rig.handled, rig.poisoned) == ([0, 2], [1])
        assert (result.handled, result.poisoned) == (2, 1)
        (message,) = rig.poison.messages
        assert (message.attempts, message.error.message) == (1, "no such order")
        assert (message.handler, message.instance) == ("tests:handler", "test:1")
        assert (await rig.breaker.refresh()).failures == 1
        assert (await rig.progress.load(SOURCE)).watermark == Mark(2, event(2).enqueued_ms)


async def test_poison_event_is_no_failure_with_count_poison_off() -> None:
    """The circuit's count of failures stays at 0."""

    async def poison(_each: Event) -> None:
        raise PoisonEventError("bad")

    async with open_rig(poison, breaker_settings={"count_poison": False}) as rig:
        await rig.processor.process(batch(keyed("a")))
        assert (await rig.breaker.refresh()).failures == 0


async def test_event_that_exhausts_its_attempts_is_poisoned() -> None:
    """All attempts together are one failure of the circuit."""

    async def fail(each: Event) -> None:
        if each.key == "a":
            raise LookupError("x")

    async with open_rig(fail, settings={"max_attempts": 3}) as rig:
        await rig.processor.process(batch(keyed("a", "b")))
        assert (rig.handled, rig.poisoned) == ([1], [0])
        assert rig.poison.messages[0].attempts == 3
        assert (await rig.breaker.refresh()).failures == 1


async def test_event_is_retried_until_its_dependency_is_available() -> None:
    """An outage fills no poison queue and keeps the order of the key."""
    calls: dict[int, int] = defaultdict(int)

    async def outage(each: Event) -> None:
        calls[each.sequence_number] += 1
        if each.sequence_number == 0 and calls[0] <= 5:
            raise DependencyUnavailableError("down")

    async with open_rig(outage, settings={"max_attempts": 2}) as rig:
        await rig.processor.process(batch(keyed("a", "a")))
        assert rig.handled == [0, 1]
        assert rig.poisoned == []
        assert calls == {0: 6, 1: 1}
        # Two rounds of attempts were exhausted, and the event counts once.
        assert (await rig.breaker.refresh()).failures == 1


async def test_event_that_is_held_for_too_long_fails_the_batch() -> None:
    """The batch must end before the host's function timeout ends the instance."""
    calls = 0

    async def outage(_each: Event) -> None:
        nonlocal calls
        calls += 1
        raise DependencyUnavailableError("down")

    async with open_rig(outage, settings={"max_attempts": 1, "hold_seconds": 0.0}) as rig:
        with pytest.raises(DependencyUnavailableError, match="redelivered with it"):
            await rig.processor.process(batch(keyed("a", "a")))
        assert (calls, rig.handled, rig.poisoned) == (1, [], [])
        assert (await rig.breaker.refresh()).failures == 1
        with pytest.raises(DependencyUnavailableError):
            await rig.processor.process(batch(keyed("a", "a")))
        assert (await rig.breaker.refresh()).failures == 1, "an event counts once"


class OddError(BaseException):
    """An error that `except Exception` does not catch, as some libraries raise."""


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(3), OddError("odd")])
async def test_base_exception_of_a_handler_is_a_failure(error: BaseException) -> None:
    """A handler that awaits a cancelled task or calls sys.exit must lose no event."""

    async def fail(each: Event) -> None:
        if each.sequence_number == 0:
            raise error

    async with open_rig(fail, settings={"max_attempts": 2}) as rig:
        result = await rig.processor.process(batch(keyed("a", "a")))
        assert (rig.handled, rig.poisoned, result.handled) == ([1], [0], 1)
        assert type(error).__name__ in rig.poison.messages[0].error.message
        assert rig.poison.messages[0].attempts == 2


async def test_cancelling_the_invocation_fails_no_event() -> None:
    """When the host cancels an invocation, its events in flight stay unfinished."""
    started = asyncio.Event()

    async def hang(_each: Event) -> None:
        started.set()
        await asyncio.Event().wait()

    async with open_rig(hang) as rig:
        running = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (rig.handled, rig.poisoned) == ([], [])


async def test_error_without_a_readable_text_is_poisoned() -> None:
    """The text of this error cannot be read, because `str` raises another error."""

    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    async def fail(_each: Event) -> None:
        raise SilentError

    async with open_rig(fail, settings={"max_attempts": 1}) as rig:
        await rig.processor.process(batch(keyed("a")))
        assert rig.poisoned == [0]
        assert "text is not available" in rig.poison.messages[0].error.message
