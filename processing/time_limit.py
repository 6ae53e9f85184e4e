"""A time limit for many short calls at once, kept by one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_STEPS = 10
_OVERDUE = -1


class TimeLimit:
    """Cancels calls that take longer than the limit, at most a tenth of it late.

    `asyncio.timeout` makes and drops a timer for each call: 3 µs, half of what everything else on
    an event's healthy path costs. Here one timer looks at all calls that are under way.

    Args:
        seconds: the limit, above 0.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[asyncio.Task[object], int] = {}  # task: the tick at which it began
        self._tick = 0
        self._loop: asyncio.AbstractEventLoop | None = None  # where the timer runs, if it does

    async def call[Item](self, function: Callable[[Item], Awaitable[None]], item: Item) -> None:
        """Await `function(item)`; a task makes one such call at a time.

        Raises:
            TimeoutError: it took longer than the limit and was cancelled.
        """
        task, running = asyncio.current_task(), self._running
        assert task is not None  # noqa: S101 - what awaits this is a task
        if self._loop is not task.get_loop():
            self._watch(task.get_loop())
        running[task] = self._tick
        try:
            await function(item)
        except asyncio.CancelledError:
            if running[task] != _OVERDUE or task.cancelling() > 1:  # somebody else's wish (too)
                raise
            raise TimeoutError(f"the handler took longer than {self._seconds:g} s") from None
        finally:
            if running.pop(task) == _OVERDUE:
                task.uncancel()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.call_later(self._seconds / _STEPS, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tick += 1
        for task, began in self._running.items():
            if began != _OVERDUE and self._tick - began > _STEPS:
                self._running[task] = _OVERDUE
                task.cancel()
        if self._running:
            self._watch(loop)
        else:
            self._loop = None
