"""Handlers with state behind routes: built, started and closed once each, in one task."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pytest

from processing.errors import HandlerLoadError, HandlerStartError
from processing.event import Event
from processing.handlers.loading import LoadedHandler, load_handler
from processing.handlers.raised import NotStartedError
from processing.handlers.routes import Routes
from tests.support.processing.events import event

steps: list[str] = []


class Noting:
    """A handler that notes its steps, and fails where the settings say."""

    tasks: ClassVar[list[Any]] = []

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.fails = settings.get(f"FAILS_{type(self).__name__}", "")
        self.note("built")

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        if settings.get(f"FAILS_{cls.__name__}") == "build":
            raise KeyError("BANK_URL")
        return cls(settings)

    def note(self, step: str) -> None:
        steps.append(f"{type(self).__name__} {step}")

    async def start(self) -> None:
        self.tasks.append(asyncio.current_task())
        self.note("started")
        if self.fails == "start":
            raise OSError("no route to password=abc")

    async def __call__(self, each: Event) -> None:
        self.note(f"handled {each.sequence_number}")

    async def aclose(self) -> None:
        self.tasks.append(asyncio.current_task())
        self.note("closed")
        if self.fails == "close":
            raise OSError("broken pipe")


class Bank(Noting):
    """The first handler."""


class Shop(Noting):
    """The second handler."""


class Plain:
    """A handler whose methods are plain."""

    def start(self) -> None:
        assert threading.current_thread() is not threading.main_thread()
        steps.append("Plain started")

    def __call__(self, each: Event) -> None:
        steps.append(f"Plain handled {each.sequence_number}")

    def aclose(self) -> None:
        steps.append("Plain closed")


@pytest.fixture(autouse=True)
def _clear() -> None:
    steps.clear()
    Noting.tasks.clear()


def routes_of(*handlers: Any) -> Routes:
    routes = Routes(by="type")
    for handler in handlers:
        routes.on(handler.__name__, f"{handler.__name__} too")(handler)
    return routes


def load(routes: Routes, **settings: str) -> LoadedHandler:
    return load_handler(routes, settings, timeout_seconds=5)


async def test_each_class_lives_once() -> None:
    """One instance for all routes of a class; the close is in reverse order and in one task."""
    handler = load(routes_of(Bank, Shop, Plain))
    assert steps == []
    await asyncio.gather(handler.start(), handler.start())
    types = ["Bank", "Shop too", "Bank too", "Plain"]
    for number, kind in enumerate(types):
        await handler.handle(event(number, properties={"type": kind}))
    await handler.aclose()
    assert steps == [
        *("Bank built", "Shop built", "Bank started", "Shop started", "Plain started"),
        *("Bank handled 0", "Shop handled 1", "Bank handled 2", "Plain handled 3"),
        *("Plain closed", "Shop closed", "Bank closed"),
    ]
    assert len(set(Noting.tasks)) == 1


async def test_failed_build_closes_the_handlers_that_were_built() -> None:
    """The error names the route; the next start builds all handlers again."""
    settings = {"FAILS_Shop": "build"}
    handler = load_handler(routes_of(Bank, Shop), settings)
    with pytest.raises(HandlerStartError, match=r"route 'Shop': Shop\.from_settings"):
        await handler.start()
    assert steps == ["Bank built", "Bank closed"]
    assert "BANK_URL" in str(handler.results.problem)
    del settings["FAILS_Shop"]
    await handler.start()
    assert steps[2:] == ["Bank built", "Shop built", "Bank started", "Shop started"]
    await handler.aclose()


async def test_failed_start_names_the_handler_and_closes_all() -> None:
    """The text has no secret."""
    handler = load(routes_of(Bank, Shop), FAILS_Shop="start")
    with pytest.raises(HandlerStartError, match="start of Shop raised OSError") as caught:
        await handler.start()
    assert "abc" not in str(caught.value)
    assert steps[-2:] == ["Shop closed", "Bank closed"]
    await handler.aclose()


async def test_failed_close_leaves_the_others_closed(caplog: pytest.LogCaptureFixture) -> None:
    """An error of `aclose` is logged with the handler's name."""
    handler = load(routes_of(Bank, Shop), FAILS_Shop="close")
    await handler.start()
    with caplog.at_level(logging.ERROR):
        await handler.aclose()
    assert steps[-2:] == ["Shop closed", "Bank closed"]
    assert "aclose of Shop raised OSError: broken pipe" in caplog.text


async def test_interrupted_plain_start_ends_before_the_close() -> None:
    """A thread cannot be interrupted, and `aclose` must not run beside it."""
    entered, leave = threading.Event(), threading.Event()

    class Slow(Plain):
        def start(self) -> None:
            entered.set()
            leave.wait()
            steps.append("Slow started")

    handler = load(routes_of(Slow))
    starting = asyncio.create_task(handler.start())
    await asyncio.to_thread(entered.wait)
    closing = asyncio.create_task(handler.aclose())
    while not closing.done() and not starting.done():
        await asyncio.sleep(0)
    leave.set()
    with pytest.raises(NotStartedError):
        await starting
    await closing
    assert steps == ["Slow started", "Plain closed"]


async def test_object_with_state_is_started_and_closed() -> None:
    """A registered object is used as it is, under all of its routes."""
    routes, own = Routes(by="type"), Plain()
    routes.on("a")(own)
    routes.default(own)
    handler = load(routes)
    await handler.start()
    await handler.handle(event(1))
    await handler.aclose()
    assert steps == ["Plain started", "Plain handled 1", "Plain closed"]


def test_class_that_cannot_be_built_is_refused_at_load() -> None:
    """The route is named."""

    class Needs:
        def __init__(self, url: str) -> None:
            self.url = url

        async def __call__(self, each: Event) -> None:
            """Handle nothing."""

    with pytest.raises(HandlerLoadError, match=r"route 'Needs' is the class .* needs arguments"):
        load(routes_of(Needs))
