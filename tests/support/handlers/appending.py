"""A handler that needs no Redis: it appends the number of each event to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from breaker.configuration.pipelines import NAME
from processing.event import Event


class AppendingHandler:
    """A handler that appends `<key> <sequence number>` to a file, see `handled_file`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(handled_file(settings))

    async def __call__(self, event: Event) -> None:
        with self._file.open("a") as file:
            file.write(f"{event.key} {event.sequence_number}\n")


def handled_file(settings: Mapping[str, str]) -> Path:
    """Return the file of the setting HANDLED_FILE; a declared pipeline has a file of its own."""
    file = Path(settings["HANDLED_FILE"])
    return file.with_suffix(f".{settings[NAME]}.txt") if NAME in settings else file
