"""Reasons to stop: signals, and the lifeline, a pipe whose end means that our parent is gone."""

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
    """Call `at_end` when standard input reaches its end; what arrives before is ignored.

    Raises:
        LifelineError: standard input is a file or /dev/null, which would be at its end at once.
    """
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or sys.stdin.isatty()):
        raise LifelineError(
            "--lifeline needs a pipe as standard input: the stack stops when it is closed"
        )
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: _UntilEnd(at_end), sys.stdin)
    return transport


@contextlib.asynccontextmanager
async def stop_requested(*, lifeline: bool) -> AsyncIterator[asyncio.Event]:
    """Yield an event that SIGTERM, SIGINT, SIGHUP and the end of the lifeline set.

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
