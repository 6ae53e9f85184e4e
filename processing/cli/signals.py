"""Ctrl-C and SIGTERM during a command that must not be cut off."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def calling_on_signals(interrupt: Callable[[str], None]) -> Iterator[None]:
    """Call `interrupt` with the signal's name at each Ctrl-C and SIGTERM."""
    loop = asyncio.get_running_loop()
    # An event loop on Windows takes no signal handlers (Ctrl-C cancels the command there), and an
    # event loop outside the main thread gets no signals.
    with suppress(NotImplementedError, RuntimeError):
        for number in SIGNALS:
            loop.add_signal_handler(number, interrupt, number.name)
    try:
        yield
    finally:
        with suppress(NotImplementedError, RuntimeError):
            for number in SIGNALS:
                loop.remove_signal_handler(number)
