"""Stop requests: signals, and the lifeline, a pipe that closes when the parent process ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable


class LifelineError(Exception):
    """Standard input cannot serve as a lifeline."""


class _UntilEnd(asyncio.Protocol):
    def __init__(self, at_end: Callable[[], None]) -> None:
        self._at_end = at_end

    def connection_lost(self, exc: Exception | None) -> None:
        self._at_end()


async def watch_stdin(at_end: Callable[[], None]) -> asyncio.ReadTransport:
    """Call `at_end` when standard input is closed; earlier input is ignored.

    Raises:
        LifelineError: standard input is a file or /dev/null, which would end immediately.
    """
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or sys.stdin.isatty()):
        raise LifelineError(
            "--lifeline needs a pipe as standard input; the stack stops when the pipe is closed"
        )
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: _UntilEnd(at_end), sys.stdin)
    return transport


@contextlib.asynccontextmanager
async def stop_requested(*, lifeline: bool) -> AsyncIterator[asyncio.Event]:
    """Yield an event that is set by SIGTERM, SIGINT, SIGHUP or the end of the lifeline.

    Raises:
        LifelineError: as `watch_stdin`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    transport = await watch_stdin(stop.set) if lifeline else None
    try:
        yield stop
    finally:
        if transport is not None:
            transport.close()
