"""How commands write: aligned columns for people, one JSON object per line for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

WIDEST = 60


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns; long texts are cut."""
    lines = [list(headings), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings) - 1)]
    padded = ([*map(str.ljust, line[:-1], widths), line[-1]] for line in lines)
    return "\n".join("  ".join(line) for line in padded)


def when(seconds: float) -> str:
    """A time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def show_key(key: str | None) -> str:
    """A key, told apart from none."""
    return "(none)" if key is None else repr(key)


class Bar:
    """A progress bar where one can be drawn, a line now and then elsewhere.

    Args:
        what: what is counted.
        quiet: show nothing.
        stream: where to.
    """

    def __init__(self, what: str, *, quiet: bool = False, stream: TextIO = sys.stderr) -> None:
        self._what = what
        self._quiet = quiet
        self._stream = stream
        self._shown = -1
        self._rich = None if quiet or not stream.isatty() else _rich_bar(what)

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is."""
        if self._rich is not None:
            self._rich.update(self._rich.task_ids[0], completed=done, total=total)
        elif not self._quiet and (tenth := 10 * done // max(1, total)) != self._shown:
            self._shown = tenth
            print(f"{self._what}: {done:,} of {total:,}", file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._rich is not None:
            self._rich.stop()


def _rich_bar(what: str) -> Any:
    try:
        from rich.console import Console  # noqa: PLC0415 - the deployed app goes without it
        from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn  # noqa: PLC0415
    except ImportError:
        return None
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task(what, total=None)
    bar.start()
    return bar


def _visible(character: str) -> str:
    # An error may quote its event, and whoever sent that must not write on an operator's terminal.
    return character if character.isprintable() else ascii(character)[1:-1]


def _cell(value: object) -> str:
    text = "".join(map(_visible, " ".join(str(value).split())))
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
