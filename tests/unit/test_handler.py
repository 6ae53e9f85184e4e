"""Loading and calling handlers of every form."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Self

import pytest

from processing.errors import HandlerLoadError
from processing.event import Event
from processing.handler import LoadedHandler, load_handler
from tests.unit.events import event

seen: list[tuple[str, int]] = []
NOT_CALLABLE = 3


async def async_handler(each: Event) -> None:
    seen.append((threading.current_thread().name, each.sequence_number))


def plain_handler(each: Event) -> None:
    seen.append((threading.current_thread().name, each.sequence_number))


class Configured:
    closed = False

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(settings["NAME"])

    async def __call__(self, each: Event) -> None:
        seen.append((self.name, each.sequence_number))

    async def aclose(self) -> None:
        Configured.closed = True


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


async def test_async_function() -> None:
    """An async function runs on the loop's thread."""
    handler = load_handler(f"{__name__}:async_handler", {})
    await handler.handle(event(1))
    await handler.aclose()
    assert seen == [(threading.current_thread().name, 1)]


async def test_plain_function() -> None:
    """A plain function runs in a thread, so that it may block."""
    handler = load_handler(f"{__name__}:plain_handler", {})
    await handler.handle(event(1))
    await handler.aclose()
    assert seen[0][0].startswith("handler")


async def test_class_with_settings() -> None:
    """A class is made from the app settings and closed in the end."""
    handler = load_handler(f"{__name__}:Configured", {"NAME": "it"})
    await handler.handle(event(2))
    await handler.aclose()
    assert seen == [("it", 2)]
    assert Configured.closed


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nothing", "module:attribute"),
        ("no.such.module:x", "no.such.module"),
        (f"{__name__}:missing", "has no missing .*plain_handler"),
        (f"{__name__}:NOT_CALLABLE", "is a int"),
    ],
)
def test_errors_say_what_was_tried(spec: str, says: str) -> None:
    """A handler that can't be loaded is named, with what was found instead."""
    with pytest.raises(HandlerLoadError, match=says):
        load_handler(spec, {})


async def test_plain_errors_arrive() -> None:
    """What a plain handler raises reaches the caller."""

    def failing(_event: Event) -> None:
        raise LookupError("here")

    handler = LoadedHandler("x", failing)
    with pytest.raises(LookupError, match="here"):
        await handler.handle(event(1))
    await handler.aclose()
