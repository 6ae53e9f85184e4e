"""The progress bars of a command that restarts the app."""

from __future__ import annotations

from processing.cli.output import Bar
from processing.site.restart import Stage

LABELS = {
    Stage.STOP: "waiting for the app to stop, seconds",
    Stage.EXPIRE: "waiting for the app's ownership to expire, seconds",
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
