"""The time limit of one invocation's waits, and the error that halts the invocation."""

from __future__ import annotations

import asyncio

from processing.batch.ramp import Turns, partition_number


class Hold:
    """The time limit of one invocation's waits, and the error that halted the invocation.

    Args:
        seconds: longest time that the invocation waits at the gate. The time starts with the first
            wait, and starts again with the first wait after an event was admitted.
        partition: the invocation's partition.

    Attributes:
        lanes: number of the invocation's lanes that may run at the same time.
        turns: the order of the lanes in a ramp; None before the first ramp.
    """

    def __init__(self, seconds: float, partition: str = "0") -> None:
        self.seconds = seconds
        self.number = partition_number(partition)
        self.lanes = 1
        self.turns: Turns | None = None
        self.halted: BaseException | None = None
        self._deadline: float | None = None
        self._keep_deadline: float | None = None
        self._ends: set[asyncio.Future[None]] = set()

    def remaining(self) -> float:
        """Return the seconds that the invocation may still wait; the first call starts the time."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self.seconds
        return self._deadline - now

    def keep_timed_out(self) -> bool:
        """Return whether events have been kept for `seconds` or longer.

        The first call starts the time. An invocation that does not end would exceed the host's
        function timeout, which ends the whole instance.
        """
        return self.keep_remaining() <= 0

    def keep_remaining(self) -> float:
        """Return the seconds for which events may still be kept; the first call starts the time."""
        now = asyncio.get_running_loop().time()
        if self._keep_deadline is None:
            self._keep_deadline = now + self.seconds
        return self._keep_deadline - now

    def reset(self) -> None:
        """Stop the time of the current wait; the next wait may take `seconds` again."""
        self._deadline = None

    def halt(self, error: BaseException) -> None:
        """Prevent all lanes of this invocation from starting an event; the first error is kept."""
        self.halted = self.halted or error
        if self.turns is not None:
            self.turns.end_waits()
        for end in tuple(self._ends):
            if not end.done():
                end.set_result(None)

    def when_halted(self) -> asyncio.Future[None]:
        """Return a future that is done when the invocation is halted; the caller cancels it."""
        end = asyncio.get_running_loop().create_future()
        if self.halted is not None:
            end.set_result(None)
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)
        return end
