"""Handlers of lists of events: their shape, their calls and their time limit."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from processing.errors import HandlerLoadError
from processing.event import Event
from processing.handlers.loading import load_handler
from processing.handlers.routes import Routes
from tests.support.processing.events import event

if TYPE_CHECKING:
    import processing.event as types

type Events = list[Event]
seen: list[list[int]] = []
FORMS = r"\(events: list\[Event\]\), also as Sequence\[Event\]"
ROUTE = (
    r"a handler of a route takes \(event: Event\), \(order: Order\) or \(order: Order, event: "
    r"Event\), and no list of events"
)


def note(events: Sequence[Event]) -> None:
    seen.append([each.sequence_number for each in events])


def plain(events: list[Event]) -> None:
    note(events)


async def coroutine(events: list[Event]) -> None:
    note(events)


def alias(events: Events) -> None:
    note(events)


def sequence(events: Sequence[Event]) -> None:
    note(events)


def text(events: list[Event]) -> None:
    note(events)


def hidden(events: list[types.Event]) -> None:
    note(events)


def marked(events: Annotated[list[Event], "of a partition"]) -> None:
    note(events)


def maybe(events: list[Event] | None) -> None:
    note(events or [])


@dataclass
class Order:
    """A body."""

    amount: int


class Class:
    """A handler with a start."""

    started = False

    async def start(self) -> None:
        self.started = True

    async def __call__(self, events: list[Event]) -> None:
        assert self.started
        note(events)


class Made:
    """A class whose factory builds another object."""

    @classmethod
    def from_settings(cls, _settings: object) -> Any:
        return functools.partial(plain)


def two(events: list[Event], other: Event) -> None: ...
def bare(events: list) -> None: ...  # type: ignore[type-arg]
def anything(events: list[Any]) -> None: ...
def endless(events: Iterable[Event]) -> None: ...
def fixed(events: tuple[Event, ...]) -> None: ...
def behind_a_model(order: list[Order], events: list[Event]) -> None: ...


@pytest.fixture(autouse=True)
def _empty() -> None:
    seen.clear()


@pytest.mark.parametrize(
    "name",
    "plain coroutine alias sequence text hidden marked maybe Class Made".split(),  # noqa: SIM905
)
async def test_handler_of_lists_gets_lists(name: str) -> None:
    """An event alone is a list of one event."""
    loaded = load_handler(f"{__name__}:{name}", {}, timeout_seconds=5)
    await loaded.start()
    assert loaded.takes_lists
    await loaded.handle(event(1))
    await loaded.handle_list((event(2), event(3)))
    assert seen == [[1], [2, 3]]
    await loaded.aclose()


async def test_closed_handler_of_lists_starts_no_call() -> None:
    """The close may overtake a list that waits for its call."""
    loaded = load_handler(Class, {})
    await loaded.start()
    await loaded.aclose()
    with pytest.raises(Exception, match="not started, or it is closed"):
        await loaded.handle_list((event(1),))
    assert seen == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("two", r"takes \(events, other\), and is called with one list of events"),
        ("bare", r"of type list, which is neither the event"),
        ("anything", r"of type list\[typing.Any\], which is neither the event"),
        ("endless", rf"of type .*Iterable\[Event\], which is neither the event.*{FORMS}"),
        ("fixed", rf"of type tuple\[Event, ...\], which is neither the event.*{FORMS}"),
        ("behind_a_model", r"events of type list\[Event\]; the only one after list.* is the event"),
    ],
)
def test_wrong_list_is_refused_at_load(name: str, says: str) -> None:
    """A call with a list would fail, or nothing says that it takes events."""
    with pytest.raises(HandlerLoadError, match=says):
        load_handler(f"{__name__}:{name}", {})


async def test_handler_may_change_its_list() -> None:
    """The events of a running call are known until the call ends, for the deadline."""
    running: list[list[int]] = []

    async def consume(events: list[Event]) -> None:
        while events:
            events.pop()
        running.append([each.sequence_number for each in loaded.running])
        task = asyncio.current_task()
        assert task is not None
        first = loaded.event_of(task)
        assert first is not None
        assert first.sequence_number == 1

    loaded = load_handler(consume, {}, timeout_seconds=5)
    events = (event(1), event(2))
    await loaded.handle_list(events)
    assert running == [[1, 2]]
    assert len(events) == 2


async def test_overdue_list_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the first event and the number of the others."""

    async def hang(events: list[Event]) -> None:
        await asyncio.Event().wait()

    async def stubborn(events: list[Event]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    loaded = load_handler(hang, {}, timeout_seconds=0.01)
    with pytest.raises(TimeoutError):
        await loaded.handle_list((event(1), event(2)))
    loaded = load_handler(stubborn, {}, timeout_seconds=0.01)
    await loaded.handle_list((event(1), event(2)))
    assert "event 0/1 and 1 more in one list" in caplog.messages[-1]


def test_route_takes_no_list() -> None:
    """The events of a list may have different types."""
    routes = Routes(by="type")
    routes.on("a")(plain)
    with pytest.raises(HandlerLoadError, match=f"route 'a' takes a list of events; {ROUTE}"):
        load_handler(routes, {})


@pytest.mark.parametrize("handler", [two, bare, fixed])
def test_refusal_in_a_route_offers_no_list(handler: Any) -> None:
    """A list handler would be refused next."""
    routes = Routes(by="type")
    routes.on("a")(handler)
    with pytest.raises(HandlerLoadError, match=ROUTE) as caught:
        load_handler(routes, {})
    assert "(events: list[Event])" not in str(caught.value)


async def test_class_of_a_route_builds_no_handler_of_lists() -> None:
    """The class itself does not show what its factory builds."""
    routes = Routes(by="type")
    routes.on("a")(Made)
    loaded = load_handler(routes, {})
    with pytest.raises(HandlerLoadError, match=f"takes a list of events; {ROUTE}"):
        await loaded.start()
