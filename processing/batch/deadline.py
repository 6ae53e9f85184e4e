"""The deadline of one invocation: when its attempts stop starting, and when its writes end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from processing.batch.hold import Hold
from processing.batch.time_budget import TimeBudget
from processing.errors import OutOfTimeError, StorageUnavailableError


class Deadline:
    """The deadline of one invocation, with one timer and no cost for each event.

    Args:
        budget: the time budget, which starts now.
        hold: the invocation; at the deadline it is halted, which ends all its waits.
        passed: called at the deadline.
    """

    def __init__(self, budget: TimeBudget, hold: Hold, passed: Callable[[], None]) -> None:
        self._budget = budget
        self._hold = hold
        self._on_passed: Callable[[], None] | None = passed
        self._loop = loop = asyncio.get_running_loop()
        self._began = now = loop.time()
        self._timer = loop.call_at(now + budget.start_seconds, self._pass)
        self._writing: list[asyncio.Task[object]] = []
        self._cut: set[asyncio.Task[object]] = set()

    @property
    def write_left(self) -> float:
        """The seconds for which a write may still be repeated."""
        return self._began + self._budget.write_seconds - self._loop.time()

    @property
    def writing(self) -> bool:
        """Return whether a write is in progress."""
        return bool(self._writing)

    @contextmanager
    def limits_write(self) -> Iterator[None]:
        """Cancel the write in the block if it has not ended in time.

        Raises:
            StorageUnavailableError: the write has not ended in time.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._writing.append(task)
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._cut:
                raise
            self._cut.discard(task)
            if task.uncancel() > 0:
                raise
            limit = self._budget.timeout
            raise StorageUnavailableError(
                f"a store did not answer before the end of the invocation ({limit.where}: "
                f"{limit.seconds:g} s); the batch fails and runs again"
            ) from None
        finally:
            self._writing.remove(task)

    def close(self) -> None:
        """End the deadline, because the invocation has ended."""
        self._timer.cancel()
        self._on_passed = None  # it refers to the run; the cycle would wait for a collection

    def _pass(self) -> None:
        self._hold.halt(self._error())
        self._timer = self._loop.call_later(max(0.0, self.write_left), self._cut_writes)
        if self._on_passed is not None:
            self._on_passed()

    def _cut_writes(self) -> None:
        for task in set(self._writing):
            self._cut.add(task)
            task.cancel()

    def _error(self) -> OutOfTimeError:
        limit = self._budget.timeout
        return OutOfTimeError(
            f"the invocation has used up the {self._budget.start_seconds:g} s in which it starts "
            f"events ({limit.where}: {limit.seconds:g} s); the batch runs again for its unfinished "
            "events"
        )
