"""The restart of the app around a command: its tools, its signals and its progress bar."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from processing.cli.output import Bar
from processing.site.restart import Stage

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LABELS = {
    Stage.STOP: "waiting for the app to stop, seconds",
    Stage.EXPIRE: "waiting for its ownership to expire, seconds",
    Stage.START: "waiting for the app to start, seconds",
}


class StageBars:
    """Progress bars, one for each stage that waits.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._stage: Stage | None = None
        self._bar: Bar | None = None

    def __call__(self, stage: Stage, seconds: float, most: float) -> None:
        """Show the seconds of a stage, of at most `most`."""
        if stage is not self._stage:
            self.close()
            self._stage = stage
            label = LABELS.get(stage)
            self._bar = None if label is None else Bar(label, quiet=self._quiet)
        if self._bar is not None:
            self._bar(int(seconds), int(most))

    def close(self) -> None:
        """Stop updating the present bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None


@contextmanager
def calling_on_signals(interrupt: Callable[[str], None], say: str) -> Iterator[None]:
    """Call `interrupt` with the signal's name at Ctrl-C and SIGTERM, and print what follows."""
    loop = asyncio.get_running_loop()

    def interrupted(number: signal.Signals) -> None:
        print(say, file=sys.stderr, flush=True)
        interrupt(number.name)

    # On Windows the signal cancels the command, and a thread gets no signals.
    with suppress(NotImplementedError, RuntimeError):
        for number in SIGNALS:
            loop.add_signal_handler(number, interrupted, number)
    try:
        yield
    finally:
        with suppress(NotImplementedError, RuntimeError):
            for number in SIGNALS:
                loop.remove_signal_handler(number)
