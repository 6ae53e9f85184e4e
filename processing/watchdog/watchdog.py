"""The watchdog of one process, below the interpreter: it ends a process that stands still."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import time
from collections.abc import Callable
from pathlib import Path

from processing.event import Event
from processing.watchdog.death_reports import log_death_report, take_death_reports
from processing.watchdog.loop_watch import LoopWatch
from processing.watchdog.recorder import FlightRecorder, private_folder
from processing.watchdog.recording import NoRecorder, Recorder

logger = logging.getLogger(__name__)

REARMS = 8
"""Number of times in `seconds` that the loop sets the end back."""


class Watchdog:
    """The watchdog of this process.

    The timer belongs to `faulthandler`: a C thread, which also runs while a C call holds the
    interpreter. At its end it writes the stacks of all threads and ends the process at once.

    Args:
        seconds: time for which the event loop may stand still; 0: the process is never ended.
        handler: the handler's name.
        app: the name of the app's files.
        folder: the folder of the files; None: the current user's private folder.
        find_event: see `LoopWatch`.
        blocked: see `LoopWatch`.

    Attributes:
        recorder: records the calls of this process.
    """

    def __init__(
        self,
        seconds: float,
        *,
        handler: str,
        app: str,
        folder: Path | None = None,
        find_event: Callable[[asyncio.Task[object]], Event | None] = lambda _task: None,
        blocked: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._seconds = seconds
        self._armed_at = 0.0
        self._flight = self._open(folder, app, handler)
        self.recorder: Recorder = self._flight or NoRecorder()
        self._watch = LoopWatch(
            handler, find_event, beaten=self._rearm, blocked=blocked, recorder=self.recorder
        )

    @property
    def notice(self) -> str | None:
        """See `LoopWatch.notice`."""
        return self._watch.notice

    def start(self) -> None:
        """Start watching the running event loop."""
        self._watch.start()

    async def aclose(self) -> None:
        """Stop watching, and remove the process's file."""
        await self._watch.aclose()
        if self._seconds:
            faulthandler.cancel_dump_traceback_later()
        if self._flight is not None:
            self._flight.close()

    def _open(self, folder: Path | None, app: str, handler: str) -> FlightRecorder | None:
        """Report the dead processes of the app, and open this process's file."""
        try:
            folder = folder or private_folder()
            for report in take_death_reports(folder, app):
                log_death_report(report, self._seconds)
            return FlightRecorder(folder, app, handler)
        except OSError as error:
            logger.warning(
                "No file can be kept of running calls (%s); if this process is ended, its stack "
                "goes to stderr and names no event",
                error,
            )
            return None

    def _rearm(self) -> None:
        now = time.monotonic()
        if not self._seconds or now - self._armed_at < self._seconds / REARMS:
            return
        self._armed_at = now
        if self._flight is None:
            faulthandler.dump_traceback_later(self._seconds, exit=True)
        else:
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._flight.fileno())
