"""Whatever a handler raises or does to its event ends that event, and never its batch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import tenacity

from processing.errors import (
    FormatError,
    LeaseLostError,
    OwnershipLostError,
    ProcessingError,
    ShutdownError,
)
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.poison.message import ClaimCheck, PoisonMessage
from tests.support.processing.events import batch, event
from tests.support.processing.parking_rig import open_rig as open_parking_rig
from tests.support.processing.processor_rig import keyed, open_rig

type Deed = Callable[[Event], object]

# Metaclasses and names that no program should use; a generated class may have them.
LONG_NAME = "E" * 60_000


class _UnreadableType(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in {"__module__", "__qualname__", "__name__"}:
            raise RuntimeError("this type has no name")
        return super().__getattribute__(name)


class UnreadableTypeError(Exception, metaclass=_UnreadableType):
    pass


class NumberedModuleError(Exception):
    __module__ = 7  # type: ignore[assignment]


class ExitingAttributesError(Exception):
    def __getattr__(self, name: str) -> Any:
        raise SystemExit(3)


class OddError(BaseException):
    pass


def broken(raised: BaseException) -> Exception:
    """Return an error whose text cannot be read, because `str` raises another error."""

    class BrokenTextError(Exception):
        def __str__(self) -> str:
            raise raised

        __repr__ = __str__

    return BrokenTextError()


def deep_group() -> Exception:
    error: Exception = LookupError("the inmost")
    for _ in range(5_000):
        error = ExceptionGroup("group", [error])
    return error


def underivable_group() -> Exception:
    class UnderivableGroup(ExceptionGroup[Exception]):
        def derive(self, excs: Any) -> Any:
            raise RuntimeError("no subgroups")

    return UnderivableGroup("group", [LookupError(), ValueError()])


def long_chain() -> Exception:
    error: Exception = LookupError("the first")
    for _ in range(5_000):
        later = LookupError("later")
        later.__cause__, later.__context__ = error, error
        error = later
    return error


def circular_chain() -> Exception:
    one, two = LookupError("one"), LookupError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def with_notes(notes: object) -> Exception:
    error = LookupError("noted")
    error.__notes__ = notes  # type: ignore[assignment]
    return error


ERRORS: dict[str, Callable[[], BaseException]] = {
    "ShutdownError": lambda: ShutdownError("mine"),
    "OwnershipLostError": lambda: OwnershipLostError("mine"),
    "LeaseLostError": lambda: LeaseLostError("mine"),
    "FormatError": lambda: FormatError("mine"),
    "ProcessingError": lambda: ProcessingError("mine"),
    "GeneratorExit": GeneratorExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": lambda: SystemExit(3),
    "CancelledError": asyncio.CancelledError,
    "StopIteration": StopIteration,
    "StopAsyncIteration": StopAsyncIteration,
    "BaseException": lambda: OddError("odd"),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("g", [KeyboardInterrupt(), LookupError()]),
    "TryAgain": tenacity.TryAgain,
    "text that raises": lambda: broken(LookupError()),
    "text that exits": lambda: broken(SystemExit(3)),
    "text that interrupts": lambda: broken(KeyboardInterrupt()),
    "text without end": lambda: broken(RecursionError()),
    "text that closes": lambda: broken(GeneratorExit()),
    "text of 50 MB": lambda: LookupError("\U0001f600" * 12_500_000),
    "half surrogates": lambda: LookupError("\ud83d", "a\0b"),
    "unpicklable arguments": lambda: LookupError(threading.Lock(), b"\xff", float("nan")),
    "name of 60,000 characters": type(LONG_NAME, (LookupError,), {}),
    "module of 60,000 characters": type("E", (LookupError,), {"__module__": LONG_NAME}),
    "half surrogate as module": type("E", (LookupError,), {"__module__": "\ud83d"}),
    "module that is no text": NumberedModuleError,
    "type without a readable name": UnreadableTypeError,
    "attributes that exit": ExitingAttributesError,
    "deep group": deep_group,
    "group that cannot be split": underivable_group,
    "long chain": long_chain,
    "circular chain": circular_chain,
    "odd notes": lambda: with_notes([object(), None, broken(SystemExit())]),
    "notes that are no list": lambda: with_notes(7),
}


def raising(name: str) -> Deed:
    def deed(_event: Event) -> None:
        raise ERRORS[name]()

    return deed


def change(name: str, value: object) -> Deed:
    """Change a property although it is frozen, and fail."""

    def deed(each: Event) -> None:
        dict.__setitem__(each.properties, name, value)  # type: ignore[index]
        raise LookupError("changed")

    return deed


class Unreadable(dict[str, Any]):
    def items(self) -> Any:
        raise KeyError("secret")


def without_end() -> list[Any]:
    itself: list[Any] = []
    itself += [itself, itself]
    return itself


def replace(attribute: str, value: object) -> Deed:
    def deed(each: Event) -> None:
        object.__setattr__(each, attribute, value)
        raise LookupError("replaced")

    return deed


DEEDS: dict[str, Deed] = {
    "a lock": change("x", threading.Lock()),
    "a key of bytes": change(b"x", 1),  # type: ignore[arg-type]
    "a key that is an object": change(object(), 1),  # type: ignore[arg-type]
    "itself": lambda each: change("x", each.properties)(each),
    "lists without end": change("x", without_end()),
    "NaN": change("x", float("nan")),
    "half surrogates": change("\ud83d", "\ud83d"),
    "a value whose text exits": change("x", broken(SystemExit(3))),
    "other properties": replace("properties", threading.Lock()),
    "properties that cannot be read": replace("properties", Unreadable(p=1)),
    "other system properties": replace("system_properties", None),
    "another body": replace("body", None),
    "a list as key": replace("key", []),
    "a number as key": replace("key", 5),
}
LEFT_OUT = {
    "other properties": "(not stored: properties, which the handler replaced)",
    "properties that cannot be read": "(not stored: its properties: builtins.KeyError: 'secret')",
    "other system properties": "(not stored: system_properties, which the handler replaced)",
    "another body": "(not stored: body, which the handler replaced)",
}


async def cancel_own_task(_event: Event) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize("name", ERRORS)
async def test_any_error_of_a_handler_ends_its_event(name: str) -> None:
    """The next event of the key runs, and the poison queue has the event, whatever was raised."""

    async def handle(each: Event) -> None:
        if each.sequence_number == 0:
            raising(name)(each)

    message = await check_skipping(handle)
    assert len(message.to_json().encode()) < 100_000
    await check_parking(handle)


@pytest.mark.parametrize("name", [*list(ERRORS)[:13], "text that interrupts"])
async def test_any_error_in_a_thread_ends_its_event(name: str) -> None:
    """An error that ends a process or a coroutine has no effect beyond its thread."""

    def handle(each: Event) -> None:
        if each.sequence_number == 0:
            raising(name)(each)

    handler = LoadedHandler("tests:plain", handle, timeout_seconds=60)
    try:
        await check_skipping(handler.handle)
    finally:
        await handler.aclose()


@pytest.mark.parametrize("name", DEEDS)
async def test_handler_cannot_break_its_event(name: str) -> None:
    """The event is stored with all of it that can be stored."""

    async def handle(each: Event) -> None:
        if each.sequence_number == 0:
            DEEDS[name](each)

    message = await check_skipping(handle)
    assert message.error.message.endswith(LEFT_OUT.get(name, "ed")), message.error.message
    await check_parking(handle)


async def test_handler_that_cancels_its_own_task_fails() -> None:
    """Only the cancellation of the invocation ends a lane."""

    async def handle(each: Event) -> None:
        if each.sequence_number == 0:
            await cancel_own_task(each)

    await check_skipping(handle)
    await check_parking(handle)


async def test_unfinished_cancellation_of_its_own_task_breaks_no_batch() -> None:
    """The handler returned, so its event is handled; the request must not reach the lane's task."""

    async def handle(_event: Event) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    for seconds in (0, 60):
        limited = LoadedHandler("tests:handler", handle, timeout_seconds=seconds)
        async with open_rig(limited.handle) as rig, asyncio.timeout(20):
            result = await rig.processor.process(batch(keyed("a", "a", "b")))
        assert result.handled == 3


async def test_circuit_that_cannot_count_a_failure_ends_no_batch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of our own about one event is logged with the event, which still ends."""

    async def handle(each: Event) -> None:
        if each.sequence_number == 0:
            raise LookupError

    async def refuse(*_: object) -> None:
        raise TypeError("not a number")

    async with open_rig(handle) as rig:
        monkeypatch.setattr(rig.breaker, "record_failure", refuse)
        await rig.processor.process(batch(fresh()))
        assert (sorted(rig.handled), rig.poisoned) == ([1, 2], [0])
    assert f"Event {event(0, 'a').id}: its failure is not counted in the circuit" in caplog.text
    assert "TypeError: not a number" in caplog.text


def fresh() -> list[Event]:
    return [event(0, "a", properties={"p": 1}), event(1, "a"), event(2, "b")]


async def check_skipping(handle: Callable[[Event], Awaitable[None]]) -> PoisonMessage:
    async with open_rig(handle) as rig, asyncio.timeout(20):
        result = await rig.processor.process(batch(fresh()))
    assert (sorted(rig.handled), rig.poisoned) == ([1, 2], [0])
    assert (result.handled, result.poisoned) == (2, 1)
    message = rig.poison.messages[0]
    assert (message.key, message.id) == ("a", event(0, "a").id)
    assert not message.with_claim_check(ClaimCheck("container", "b" * 100)).is_large
    return message


async def check_parking(handle: Callable[[Event], Awaitable[None]]) -> None:
    """Check that the key is parked, and that redriving the event fails without another effect."""
    async with open_parking_rig() as rig, asyncio.timeout(20):
        rig.before = handle
        result = await rig.processor().process(batch(fresh()))
        assert (result.handled, result.poisoned, result.parked) == (1, 1, 1)
        assert (rig.poisoned, await rig.parked()) == ([0], [0, 1])
        summary = await rig.redrive().run()
        assert (len(summary.failed), summary.replayed, summary.stopped) == (1, 0, "")
        assert (rig.poisoned, await rig.parked()) == ([0], [0, 1])
