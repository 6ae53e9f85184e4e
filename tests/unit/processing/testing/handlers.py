"""Handlers for the tests of the test kit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from processing.dependencies import dependency
from processing.errors import PoisonEventError
from processing.event import Event


async def handle(event: Event) -> None:
    """Refuse what the body asks to refuse."""
    if event.body.startswith(b"poison"):
        raise PoisonEventError("asked for")
    if event.body == b"fail":
        raise ValueError("asked for")


async def charge(event: Event) -> None:
    """Call the bank."""
    async with dependency("bank"):
        pass


def charge_in_thread(event: Event) -> None:
    """Call the bank from a thread."""
    with dependency("bank"):
        pass


class Orders:
    """A handler with state.

    Attributes:
        built: all objects, in order.
        closed: all closed objects, in order.
    """

    built: list[Orders] = []  # noqa: RUF012 - the tests clear it
    closed: list[Orders] = []  # noqa: RUF012

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[Event] = []
        self.built.append(self)

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """Return the handler."""
        return cls(settings["BANK_URL"])

    async def __call__(self, event: Event) -> None:
        """Note an event."""
        self.seen.append(event)

    async def aclose(self) -> None:
        """Note the close."""
        self.closed.append(self)
