"""A time limit for many short calls at once, kept by one timer."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Task, current_task
from collections.abc import Awaitable, Callable

_STEPS = 10
_OVERDUE = -1


class TimeLimit:
    """Cancels calls that take longer than the limit, at most a tenth of it late.

    `asyncio.timeout` makes and drops a timer for each call, which costs as much as everything else
    on an event's healthy path together. Here one timer looks at all calls that are under way.

    Args:
        seconds: the limit, above 0.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[Task[object], int] = {}  # the tick at which each one's call began
        self._tick = 0
        self._loop: asyncio.AbstractEventLoop | None = None  # where the timer runs, if it does

    def limited[Item](
        self, function: Callable[[Item], Awaitable[None]]
    ) -> Callable[[Item], Awaitable[None]]:
        """The function with the limit; a task makes one such call at a time.

        A call that took longer raises `TimeoutError`, unless it finished all the same or somebody
        else cancelled its task as well.
        """
        running = self._running

        async def call(item: Item) -> None:
            task = current_task()
            assert task is not None  # noqa: S101 - what awaits this is a task
            if self._loop is None or self._loop is not task.get_loop():
                self._watch(task.get_loop())
            running[task] = self._tick
            try:
                await function(item)
            except CancelledError:
                if running[task] != _OVERDUE or task.cancelling() > 1:
                    raise
                raise TimeoutError(f"the handler took longer than {self._seconds:g} s") from None
            finally:
                if running.pop(task) == _OVERDUE:
                    task.uncancel()

        return call

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
