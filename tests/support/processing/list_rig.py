"""A processor on in-memory parts whose handler takes lists, and the lists that it got."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from processing.errors import PoisonEventError
from processing.event import Event
from processing.handlers.loading import load_handler
from tests.support.processing.events import event
from tests.support.processing.processor_rig import Rig, open_rig

DEFERS: dict[str, Any] = {"deferred_events_max": 10_000, "defer_after_seconds": 0.0}

type Judge = Callable[[list[Event]], Exception | None]


class Calls(list[list[int]]):
    """The lists that the handler got, as sequence numbers.

    Attributes:
        handled: the events of the calls that succeeded, in the order of the calls.
        before: awaited in each call, with its list.
    """

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[int] = []
        self.before: Callable[[list[Event]], Awaitable[None]] | None = None

    @property
    def sizes(self) -> list[int]:
        return list(map(len, self))


def _no_error(_events: list[Event]) -> Exception | None:
    return None


@asynccontextmanager
async def opened(
    judge: Judge = _no_error,
    *,
    rules: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Rig, Calls]]:
    """Open a processor whose handler raises what `judge` returns for a list.

    Args:
        judge: called with each list.
        rules: rules of the circuit, which never opens by default.
        options: further options of the processor.
        settings: settings of processing.
    """
    calls = Calls()

    async def handle(events: list[Event]) -> None:
        numbers = [each.sequence_number for each in events]
        calls.append(numbers)
        await asyncio.sleep(0)
        if calls.before is not None:
            await calls.before(events)
        if (error := judge(events)) is not None:
            raise error
        calls.handled += numbers

    loaded = load_handler(handle, {}, timeout_seconds=3600)
    breaking = {"failure_threshold": 10_000} | (rules or {})
    async with open_rig(
        settings=settings, breaker_settings=breaking, loaded=loaded, **(options or {})
    ) as rig:
        yield rig, calls


def fails(*numbers: int, error: type[Exception] = PoisonEventError) -> Judge:
    """Return a judge that fails each list with one of the events."""

    def judge(events: list[Event]) -> Exception | None:
        bad = [each.sequence_number for each in events if each.sequence_number in numbers]
        return error(f"bad: {bad}") if bad else None

    return judge


def many(count: int, keys: int) -> list[Event]:
    return [event(number, f"key-{number % keys}") for number in range(count)]
