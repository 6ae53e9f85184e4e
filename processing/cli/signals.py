"""Ctrl-C, SIGTERM and a closed terminal during a command that must not be cut off."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


@contextmanager
def calling_on_signals(interrupt: Callable[[str], None]) -> Iterator[None]:
    """Call `interrupt` with the signal's name at each Ctrl-C, SIGTERM and SIGHUP.

    A signal that the command ignores from its start, as under `nohup`, stays ignored.
    """
    loop = asyncio.get_running_loop()
    found = [signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__]
    numbers = [each for each in found if signal.getsignal(each) is not signal.SIG_IGN]
    # An event loop on Windows takes no signal handlers (Ctrl-C cancels the command there), and an
    # event loop outside the main thread gets no signals.
    with suppress(NotImplementedError, RuntimeError):
        for number in numbers:
            loop.add_signal_handler(number, interrupt, number.name)
    try:
        yield
    finally:
        with suppress(NotImplementedError, RuntimeError):
            for number in numbers:
                loop.remove_signal_handler(number)


def say(text: str) -> None:
    """Print a line to the terminal, which may be gone."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
