"""The note that commands print if keys have waited since before the hub grew."""

from __future__ import annotations

from breaker.configuration.command_line import say_error
from processing.cli.output import printable, show_key
from processing.operations import ParkedLists


async def say_moved(lists: ParkedLists) -> None:
    """Print to standard error which keys wait since before the hub grew; nothing without such keys.

    Raises:
        StorageUnavailableError: the store did not answer.
    """
    moved = await lists.moved()
    if moved is not None and moved.keys:
        say_error(printable(moved.text(show_key)))
