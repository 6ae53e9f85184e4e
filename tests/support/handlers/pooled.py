"""A handler with a pool, which writes its steps to a file that a test reads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel

from processing.event import Event


class Order(BaseModel):
    """The body of an event."""

    number: int


class Pooled:
    """A handler that opens a pool; it fails or waits while a file of the folder exists.

    Args:
        folder: the folder of the files: `steps`; `fails`, with which a start fails; `waits`, for
            whose end a call waits.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """Return a handler with the folder of the setting POOLED_FOLDER."""
        return cls(Path(settings["POOLED_FOLDER"]))

    async def start(self) -> None:
        """Open the pool."""
        self._note("open")
        if (self._folder / "fails").exists():
            raise OSError("no route to the bank")

    async def __call__(self, order: Order, event: Event) -> None:
        """Use the pool."""
        self._note(f"begin {order.number}")
        while (self._folder / "waits").exists():
            await asyncio.sleep(0.01)
        self._note(f"end {order.number}")

    async def aclose(self) -> None:
        """Close the pool, which takes a moment."""
        await asyncio.sleep(0.05)
        self._note("close")

    def _note(self, step: str) -> None:
        with (self._folder / "steps").open("a") as file:
            file.write(f"{os.getpid()} {step}\n")


class PlainPooled(Pooled):
    """The same with a plain call, which runs in a thread."""

    def __call__(self, order: Order, event: Event) -> None:  # type: ignore[override]
        """Use the pool."""
        asyncio.run(super().__call__(order, event))
