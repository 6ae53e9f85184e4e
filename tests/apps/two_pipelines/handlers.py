"""The handler of both pipelines: it writes one line at the start and the end of each call."""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from breakwater import DependencyUnavailableError, Event


class Recorder:
    """A handler that reads files in the folder CONTROL, named after its pipeline.

    | file | effect |
    |---|---|
    | `PIPELINE.unstarted` | the handler cannot be started |
    | `PIPELINE.down` | each call fails |
    | `PIPELINE.held` | each call waits until the file is removed |
    | `PIPELINE.kills` | each call ends the process |
    """

    def __init__(self, pipeline: str, folder: Path) -> None:
        self._pipeline = pipeline
        self._folder = folder

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """Return the handler of the pipeline whose settings these are."""
        return cls(settings["BREAKWATER_PIPELINE"], Path(settings["CONTROL"]))

    async def start(self) -> None:
        """Refuse to start while the test says so."""
        if self._is_set("unstarted"):
            raise RuntimeError(f"{self._pipeline} has no pool")

    async def __call__(self, event: Event) -> None:
        """Write a line at the start and at the end."""
        self._write("start", event)
        if self._is_set("kills"):
            os._exit(9)
        while self._is_set("held"):
            await asyncio.sleep(0.01)
        if self._is_set("down"):
            raise DependencyUnavailableError(f"the bank of {self._pipeline} is down")
        self._write("end", event)

    def _is_set(self, name: str) -> bool:
        return (self._folder / f"{self._pipeline}.{name}").exists()

    def _write(self, what: str, event: Event) -> None:
        line: dict[str, Any] = {"event": what, "pipeline": self._pipeline, "pid": os.getpid()}
        line |= {"body": event.text(), "key": event.key}
        with (self._folder / "records.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
