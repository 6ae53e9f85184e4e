"""Output of the commands: aligned tables, progress bars and formatted values."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from processing.identity import Source
from processing.parking.event import ListKey, Lone
from processing.redrive.selection import id_at

WIDEST = 60
EXAMPLE_IDS = (
    "'myns.servicebus.windows.net/events/2/0/1764422576123', or the end of the id after a '/', "
    "such as '2/0/1764422576123'"
)
"""The forms of an event's id that the commands accept, for their help."""


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table with aligned columns; texts over `WIDEST` characters are cut."""
    return Pages(headings).page(rows)


class Pages:
    """A table that is printed page by page; columns grow if a later page needs more.

    Args:
        headings: the headings, which stand above the first page.
    """

    def __init__(self, headings: Sequence[str]) -> None:
        self._headings: list[Sequence[object]] = [headings]
        self._widths = [0] * (len(headings) - 1)

    def page(self, rows: Sequence[Sequence[object]]) -> str:
        """Return the next rows; texts over `WIDEST` characters are cut."""
        lines = [[_cell(value) for value in row] for row in (*self._headings, *rows)]
        self._headings = []
        for column, width in enumerate(self._widths):
            self._widths[column] = max([width, *(len(line[column]) for line in lines)])
        padded = ([*map(str.ljust, line[:-1], self._widths), line[-1]] for line in lines)
        return "\n".join("  ".join(line) for line in padded)


def when(seconds: float) -> str:
    """Format a time (seconds since 1970) in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def in_seconds(seconds: float) -> str:
    """Format the time until something happens: "now", "in 12 s", "in 9 min", "in 2 h"."""
    if seconds < 1:
        return "now"
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min")):
        if seconds < limit:
            return f"in {seconds // unit:.0f} {name}"
    return f"in {seconds // 3600:.0f} h"


def show_key(key: str | None) -> str:
    """Format a key, so that an event without a key differs from the key "(no key)"."""
    return "(no key)" if key is None else repr(key)


def show_list(source: Source, key: ListKey) -> str:
    """Format the name of a list; an event that waits alone has the end of its id as its name."""
    if isinstance(key, Lone):
        return f"{show_key(None)} {short_id(id_at(source, key.position))}"
    return show_key(key)


def short_id(event: str) -> str:
    """Return the end of an event's id: partition, sequence number and enqueued time."""
    return "/".join(event.rsplit("/", 3)[1:])


class Bar:
    """A progress bar on a terminal; elsewhere one line for each tenth of the work.

    Args:
        label: text before the count.
        quiet: show nothing.
        stream: the output.
    """

    def __init__(self, label: str, *, quiet: bool = False, stream: TextIO = sys.stderr) -> None:
        self._label = label
        self._quiet = quiet
        self._stream = stream
        self._shown = -1
        self._rich = None if quiet or not stream.isatty() else _rich_bar(label)

    def __call__(self, done: int, total: int) -> None:
        """Show the number of items that are done."""
        if self._rich is not None:
            self._rich.update(self._rich.task_ids[0], completed=done, total=total)
        elif not self._quiet and (tenth := 10 * done // max(1, total)) != self._shown:
            self._shown = tenth
            print(f"{self._label}: {done:,} of {total:,}", file=self._stream, flush=True)

    def close(self) -> None:
        """Stop updating the bar, and leave it on the terminal."""
        if self._rich is not None:
            self._rich.stop()


def _rich_bar(label: str) -> Any:
    try:
        from rich.console import Console  # noqa: PLC0415 - not installed in the deployed app
        from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn  # noqa: PLC0415
    except ImportError:
        return None
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task(label, total=None)
    bar.start()
    return bar


def printable(text: str) -> str:
    """Return a text on one line, with control characters escaped."""
    return "".join(map(_visible, " ".join(text.split())))


def _visible(character: str) -> str:
    # An error may quote its event: the event's sender must not control an operator's terminal.
    return character if character.isprintable() else ascii(character)[1:-1]


def _cell(value: object) -> str:
    text = printable(str(value))
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
