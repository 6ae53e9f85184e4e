"""Careful mode: one event at a time over all partitions of a process."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from processing.monitoring.telemetry import Switch

logger = logging.getLogger(__name__)

TURN_SECONDS = 0.25
"""Longest wait for a turn; then the caller looks at its shutdown and at its circuit."""
_POLL_SECONDS = 0.01


class CarefulMode:
    """Careful mode of one process, in which one task at a time has the turn to handle an event.

    Args:
        in_flight: returns the number of calls of the handler that run.

    Attributes:
        switch: on while careful mode is on.
    """

    def __init__(self, in_flight: Callable[[], int]) -> None:
        self.switch = Switch()
        self._in_flight = in_flight
        self._reasons: dict[object, str] = {}
        self._turn = asyncio.Lock()
        self._holder: asyncio.Task[object] | None = None
        self._listeners: list[Callable[[], None]] = []

    @property
    def on(self) -> bool:
        """Return whether careful mode is on."""
        return self.switch.on

    @property
    def reasons(self) -> Iterable[str]:
        """One text for each batch and each replay for which careful mode is on."""
        return self._reasons.values()

    def subscribe(self, began: Callable[[], None]) -> None:
        """Call `began` whenever careful mode begins."""
        self._listeners.append(began)

    def begin(self, cause: object, reason: str) -> None:
        """Begin careful mode, which lasts until `end` was called for each cause.

        Args:
            cause: the partition of the batch, or the deferred key, that asks for careful mode.
            reason: the reason, for health and log.
        """
        self._reasons[cause] = reason
        if self.on:
            return
        self.switch.on = True
        logger.error("Careful mode begins: this process handles one event at a time. %s", reason)
        for began in self._listeners:
            began()

    def end(self, cause: object) -> None:
        """End careful mode for a batch or a replay that has ended."""
        if self._reasons.pop(cause, None) is not None and not self._reasons:
            self.switch.on = False
            logger.warning("Careful mode ends: the batch or the replay that began it has ended")

    async def take_turn(self, seconds: float = TURN_SECONDS) -> bool:
        """Wait until no other task has the turn and no call of the handler runs.

        A task that has the turn already gives it back first.

        Args:
            seconds: the longest wait.

        Returns:
            Whether the current task may start an event now.
        """
        self.leave()
        if self._holder is not None and self._holder.done():
            self._free()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._turn.acquire()
                self._holder = asyncio.current_task()
                # Calls that began before careful mode end first.
                while self.on and self._in_flight():  # noqa: ASYNC110 - a call signals no end
                    await asyncio.sleep(_POLL_SECONDS)
                return True
        self.leave()
        return not self.on

    def leave(self) -> None:
        """Give the turn back if the current task has it."""
        if self._holder is not None and self._holder is asyncio.current_task():
            self._free()

    @property
    def has_turn(self) -> bool:
        """Return whether the current task has the turn."""
        return self._holder is not None and self._holder is asyncio.current_task()

    def _free(self) -> None:
        self._holder = None
        self._turn.release()


def create_careful_gauge(careful: CarefulMode, meter: metrics.Meter | None = None) -> None:
    """Create the gauge `processing.careful`, which is 1 while careful mode is on, else 0.

    A meter offers no way to remove the gauge, so the gauge ends with `careful`.
    """
    source = weakref.ref(careful)

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        found = source()
        return [] if found is None else [Observation(int(found.on))]

    (meter or metrics.get_meter("processing")).create_observable_gauge(
        "processing.careful", [observe], description="1 while careful mode is on"
    )
