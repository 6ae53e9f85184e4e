"""Handlers that end their process, or try to, when the event's body asks for it.

Each call appends a line to the file ENDING_LOG, so that the lines outlive the process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from processing.event import Event


class SilentError(Exception):
    """An error whose text ends the process if nobody prevents that."""

    def __str__(self) -> str:
        raise SystemExit(5)


def _raise(error: BaseException) -> None:
    raise error


DEEDS: dict[str, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(3),
    "memory": lambda: _raise(MemoryError()),
    "sys-exit": lambda: sys.exit(4),
    "interrupt": lambda: _raise(KeyboardInterrupt()),
    "silent": lambda: _raise(SilentError()),
}


def _note(event: Event, what: str) -> None:
    with Path(os.environ["ENDING_LOG"]).open("a", encoding="utf-8") as log:
        log.write(f"{what} {event.partition} {event.sequence_number} {os.getpid()}\n")


def _do(event: Event) -> float:
    """Do the deed of an event; return the seconds for which a slow event runs."""
    _note(event, "start")
    name, _, seconds = event.text().partition(":")
    if deed := DEEDS.get(name):
        deed()
    return float(seconds or 0)


async def handle(event: Event) -> None:
    """Do the deed, or run for the seconds that `slow:SECONDS` or `later:SECONDS` names.

    The event `later` kills the process at the end of its time.
    """
    if event.text() == "task":
        _note(event, "start")
        async with asyncio.TaskGroup() as group:
            group.create_task(_exit())
    await asyncio.sleep(_do(event))
    if event.text().startswith("later:"):
        DEEDS["kill"]()
    _note(event, "end")


def handle_plain(event: Event) -> None:
    """Do the same in a thread."""
    time.sleep(_do(event))
    _note(event, "end")


async def _exit() -> None:
    sys.exit(6)
