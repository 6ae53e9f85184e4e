"""A time limit for many short concurrent calls, enforced by one timer."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Task, current_task
from collections.abc import Awaitable, Callable
from typing import Any

from processing.handlers.raised import absorb_own_cancellation

_STEPS = 10


async def _accept(_result: object) -> None:
    """Ignore a result."""


class TimeLimit:
    """A time limit that cancels overdue calls, at most a tenth of the limit late.

    `asyncio.timeout` creates a timer for each call, which costs as much as all other steps of an
    event's healthy path. Here one timer checks all running calls.

    A call that ignores its cancellation keeps running: a second cancellation would interrupt its
    cleanup.

    Args:
        seconds: the limit, above 0.
        late: called with an item, the seconds since its call began, and whether the call has ended.
            False: a cancelled call still runs (repeated after each further limit). True: a
            cancelled call ended without an error.
    """

    def __init__(
        self,
        seconds: float,
        late: Callable[[Any, float, bool], None] = lambda _item, _seconds, _ended: None,
    ) -> None:
        self._seconds = seconds
        self._late = late
        # Each task's call: the tick at which it began, and its item.
        self._running: dict[Task[object], tuple[int, object]] = {}
        self._overdue: set[Task[object]] = set()
        self._tick = 0
        self._loop: asyncio.AbstractEventLoop | None = None  # the timer's loop; None: no timer runs

    def limited[Item](
        self,
        function: Callable[[Item], Awaitable[object]],
        settle: Callable[[object], Awaitable[None]] = _accept,
    ) -> Callable[[Item], Awaitable[None]]:
        """Return the function with the limit; a task makes one such call at a time.

        An overdue call raises `TimeoutError`, unless it ends without an error, or another
        cancellation of its task was requested, too. The limit includes `settle`, which receives
        the function's result if there is one.
        """
        running, overdue = self._running, self._overdue

        async def call(item: Item) -> None:
            task = current_task()
            assert task is not None  # noqa: S101 - a coroutine runs in a task
            if self._loop is None or self._loop is not task.get_loop():
                self._start_timer(task.get_loop())
            running[task] = (self._tick, item)
            try:
                result = await function(item)
                if result is not None:
                    await settle(result)
                if task.cancelling():
                    await self._end_cancelled(task)
            except CancelledError as cancelled:
                if task not in overdue or task.cancelling() > 1:
                    raise
                # The cause shows where the call hung, and in which dependency's block.
                text = f"the handler took longer than {self._seconds:g} s"
                raise TimeoutError(text) from cancelled
            finally:
                del running[task]
                if overdue and task in overdue:
                    overdue.discard(task)
                    task.uncancel()

        return call

    @property
    def running(self) -> int:
        """The number of calls that run."""
        return len(self._running)

    @property
    def items(self) -> list[object]:
        """The items of the running calls."""
        return [item for _, item in self._running.values()]

    def item_of(self, task: Task[Any]) -> object:
        """Return the item of a task's running call, or None; any thread may ask."""
        call = self._running.get(task)
        return None if call is None else call[1]

    def is_overdue(self) -> bool:
        """Return whether the current task's call was cancelled because of the limit."""
        return current_task() in self._overdue

    async def _end_cancelled(self, task: Task[object]) -> None:
        """End a call without an error whose task was cancelled, by the limit or by the call."""
        if task in self._overdue:
            self._report_late(self._running[task], ended=True)
        else:
            await absorb_own_cancellation()

    def _start_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.call_later(self._seconds / _STEPS, self._check_calls, loop)

    def _check_calls(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tick += 1
        for task, call in self._running.items():
            ticks = self._tick - call[0]
            if ticks > _STEPS and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
            elif ticks > _STEPS and ticks % _STEPS == 0:
                self._report_late(call, ended=False)
        if self._running:
            self._start_timer(loop)
        else:
            self._loop = None

    def _report_late(self, call: tuple[int, object], *, ended: bool) -> None:
        began, item = call
        self._late(item, (self._tick - began) / _STEPS * self._seconds, ended)
