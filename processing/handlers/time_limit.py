"""A time limit for many short calls at once, kept by one timer."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Task, current_task
from collections.abc import Awaitable, Callable
from typing import Any

_STEPS = 10


class TimeLimit:
    """Cancels calls that take longer than the limit, at most a tenth of it late.

    `asyncio.timeout` makes and drops a timer for each call, which costs as much as everything else
    on an event's healthy path together. Here one timer looks at all calls that are under way.

    A call that does not end when it is cancelled goes on: cancelling it again would tear apart what
    it does in order to end.

    Args:
        seconds: the limit, above 0.
        late: told, once for each further limit, of a call that goes on: what it was called with,
            the seconds since it began, and False; with True of one that was cancelled and ended as
            if it had not been.
    """

    def __init__(
        self,
        seconds: float,
        late: Callable[[Any, float, bool], None] = lambda _item, _seconds, _ended: None,
    ) -> None:
        self._seconds = seconds
        self._late = late
        # The tick at which each one's call began, and what it was called with.
        self._running: dict[Task[object], tuple[int, object]] = {}
        self._overdue: set[Task[object]] = set()
        self._tick = 0
        self._loop: asyncio.AbstractEventLoop | None = None  # where the timer runs, if it does

    def limited[Item](
        self, function: Callable[[Item], Awaitable[None]]
    ) -> Callable[[Item], Awaitable[None]]:
        """The function with the limit; a task makes one such call at a time.

        A call that took longer raises `TimeoutError`, unless it finished all the same or somebody
        else cancelled its task as well.
        """
        running, overdue = self._running, self._overdue

        async def call(item: Item) -> None:
            task = current_task()
            assert task is not None  # noqa: S101 - what awaits this is a task
            if self._loop is None or self._loop is not task.get_loop():
                self._watch(task.get_loop())
            running[task] = (self._tick, item)
            try:
                await function(item)
                if overdue and task in overdue:
                    self._report_late(running[task], ended=True)
            except CancelledError:
                if task not in overdue or task.cancelling() > 1:
                    raise
                raise TimeoutError(f"the handler took longer than {self._seconds:g} s") from None
            finally:
                del running[task]
                if overdue and task in overdue:
                    overdue.discard(task)
                    task.uncancel()

        return call

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.call_later(self._seconds / _STEPS, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tick += 1
        for task, call in self._running.items():
            ticks = self._tick - call[0]
            if ticks > _STEPS and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
            elif ticks > _STEPS and ticks % _STEPS == 0:
                self._report_late(call, ended=False)
        if self._running:
            self._watch(loop)
        else:
            self._loop = None

    def _report_late(self, call: tuple[int, object], *, ended: bool) -> None:
        began, item = call
        self._late(item, (self._tick - began) / _STEPS * self._seconds, ended)
