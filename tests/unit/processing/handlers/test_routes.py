"""Routes: which handler gets an event, and what is refused when the routes are declared."""

from __future__ import annotations

import asyncio
import enum
import json
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from processing.errors import (
    EventJSONError,
    EventModelError,
    EventRouteError,
    FaultyHandlerError,
    HandlerLoadError,
)
from processing.event import Event
from processing.handlers.loading import LoadedHandler, load_handler
from processing.handlers.retry import FailureKind, RetryPolicy
from processing.handlers.routes import LONGEST_NAME, MOST_NAMES, Routes
from tests.support.processing.events import event

POLICY = RetryPolicy(max_attempts=3, initial_seconds=0, max_seconds=0)
CREATED, PAID = "order.created", "order.paid"


class Kind(enum.StrEnum):
    """Types of events as an enumeration."""

    CREATED = CREATED


@dataclass
class Order:
    """A body."""

    amount: int


calls: list[tuple[str, Any]] = []
routes = Routes(by="type")


@routes.on(CREATED)
async def created(order: Order, each: Event) -> None:
    calls.append(("created", (order.amount, each.sequence_number)))


@routes.on(PAID, "order.settled")
def paid(each: Event) -> None:
    assert threading.current_thread() is not threading.main_thread()
    calls.append(("paid", each.sequence_number))


@pytest.fixture(autouse=True)
def _clear() -> None:
    calls.clear()


def of_type(number: int, kind: object, **values: Any) -> Event:
    return event(number, properties={} if kind is None else {"type": kind}, **values)


def load(found: object) -> LoadedHandler:
    return load_handler(found, {}, timeout_seconds=5)


async def test_each_type_reaches_its_handler() -> None:
    """Async and plain handlers, models and several names for one handler."""
    handler = load(f"{__name__}:routes")
    await handler.handle(of_type(1, CREATED, body=b'{"amount": 3}'))
    await handler.handle(of_type(2, PAID))
    await handler.handle(of_type(3, "order.settled"))
    await handler.aclose()
    assert calls == [("created", (3, 1)), ("paid", 2), ("paid", 3)]


async def test_unknown_type_is_poison_at_once() -> None:
    """The error is classified as poison after one attempt, and names the type and the routes."""
    handler = load(routes)
    failure = await POLICY.run(handler.handle, of_type(1, "order.eaten"))
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.POISON, 1)
    assert str(failure.error) == (
        "the property 'type' is 'order.eaten', which has no route; the routes are "
        "'order.created', 'order.paid', 'order.settled'"
    )
    await handler.aclose()


async def test_missing_type_is_poison_at_once() -> None:
    """The error names the property."""
    handler = load(routes)
    failure = await POLICY.run(handler.handle, of_type(1, None))
    assert failure is not None
    assert failure.kind is FailureKind.POISON
    assert str(failure.error).startswith("the event has no property 'type', and there is no def")
    await handler.aclose()


@pytest.mark.parametrize("kind", [None, "order.eaten", True, 1.5, ("a",)])
async def test_default_takes_every_other_event(kind: object) -> None:
    """Also an event without a type, and one whose type is no text; True is not the route 1."""
    own = Routes(by="type")

    @own.on(1)
    async def one(each: Event) -> None:
        calls.append(("one", each.sequence_number))

    @own.default
    async def other(each: Event) -> None:
        calls.append(("other", each.sequence_number))

    handler = load(own)
    await handler.handle(of_type(7, kind))
    await handler.handle(of_type(8, 1))
    assert calls == [("other", 7), ("one", 8)]


async def test_type_that_is_no_text_has_no_route() -> None:
    """The text names the kind of value only, because an object may hold personal data."""
    own = Routes(by_body="kind")
    own.on("a")(created)
    handler = load(own)
    with pytest.raises(EventRouteError, match="the body field 'kind' is a dict; a type is a text"):
        await handler.handle(event(1, body=b'{"kind": {"name": "alice"}}'))


async def test_text_of_an_unknown_type_is_bounded() -> None:
    """A long type and many routes are cut."""
    own = Routes(by="type")
    own.on(*[f"{number}{'n' * 100}" for number in range(50)])(created)
    handler = load(own)
    with pytest.raises(EventRouteError) as caught:
        await handler.handle(of_type(1, "\n" + "x" * 10_000))
    text = str(caught.value)
    assert "\n" not in text
    assert "x…, which has no route" in text
    assert text.endswith("and 40 more")
    assert len(text) < LONGEST_NAME * (MOST_NAMES + 4)


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        (Routes(by_header="message-id"), {"system_properties": {"message-id": CREATED}}),
        (Routes(by_header="x-opt-kind"), {"system_properties": {"x-opt-kind": CREATED}}),
        (Routes(by_body="kind"), {"body": b'\xef\xbb\xbf{"kind": "order.created"}'}),
        (Routes(by_body="order.kind"), {"body": b'{"order": {"kind": "order.created"}}'}),
        (Routes("type"), {"properties": {"type": CREATED}}),
    ],
)
async def test_type_is_read_from_its_place(declared: Routes, values: dict[str, Any]) -> None:
    """A property, an AMQP property, an annotation, and a field of the body."""

    @declared.on(Kind.CREATED)
    async def handle(each: Event) -> None:
        calls.append(("handled", each.sequence_number))

    handler = load(declared)
    await handler.handle(event(1, **values))
    assert calls == [("handled", 1)]
    with pytest.raises(EventRouteError, match=r"no .* and there is no default route"):
        await handler.handle(event(2, body=b'{"order": ["kind"]}'))


async def test_path_of_another_notation_gets_a_hint() -> None:
    """A field may have the name `$`, so the path is no error of the routes."""
    own = Routes(by_body="$.kind")
    own.on("a")(paid)
    handler = load(own)
    with pytest.raises(EventRouteError, match=r"route \(a path begins with a field: 'kind'\)"):
        await handler.handle(event(1, body=b'{"kind": "a"}'))
    await handler.handle(event(2, body=b'{"$": {"kind": "a"}}'))
    await handler.aclose()
    assert calls == [("paid", 2)]


async def test_body_that_is_no_json_is_poison() -> None:
    """A route by a body field decodes this event."""
    own = Routes(by_body="kind")
    own.default(created)
    own.on("a")(created)
    handler = load(own)
    failure = await POLICY.run(handler.handle, event(1, body=b"no json"))
    assert failure is not None
    assert isinstance(failure.error, EventJSONError)
    assert failure.kind is FailureKind.POISON


async def test_results_of_routed_handlers_are_checked() -> None:
    """A body that does not fit is poison, and a forgotten await is a faulty handler."""
    own = Routes(by="type")
    own.on("model")(created)

    @own.on("forgot")
    def forgot(each: Event) -> list[Any]:
        return [created(Order(1), each)]

    handler = load(own)
    with pytest.raises(EventModelError, match="the body is no Order"):
        await handler.handle(of_type(1, "model", body=json.dumps({"amount": "x"}).encode()))
    with pytest.raises(FaultyHandlerError, match="an await is missing"):
        await handler.handle(of_type(2, "forgot"))
    await handler.aclose()


async def test_time_limit_holds_for_a_routed_handler() -> None:
    """An async handler that hangs is cancelled, and its event is named."""
    own = Routes(by="type")

    @own.on("a")
    async def hang(each: Event) -> None:
        assert handler.running == [each]
        await asyncio.Event().wait()

    handler = load_handler(own, {}, timeout_seconds=0.01)
    with pytest.raises(TimeoutError, match="longer than"):
        await handler.handle(of_type(1, "a"))


def two_of_one_name() -> None:
    own = Routes(by="type")
    own.on("a")(created)
    own.on("b", "a")(paid)


def two_defaults() -> None:
    own = Routes(by="type")
    own.default(created)
    own.default(paid)


def late() -> None:
    own = Routes(by="type")
    own.on("a")(created)
    load(own)
    own.on("b")(paid)


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (Routes, "takes one of by=.*; it got none of them"),
        (lambda: Routes("a", by_body="b"), "it got 'a', 'b'"),
        (lambda: Routes(" "), "it got ' '"),
        (lambda: Routes(by_header="content_type"), "is written 'content-type'"),
        (lambda: Routes(by_header="Message-Id"), "'Message-Id' is written 'message-id'"),
        (lambda: Routes(by_header="Content_Type"), "'Content_Type' is written 'content-type'"),
        (lambda: Routes(by_header="x-opt-partition-key"), "the event's place or key"),
        (lambda: Routes(by_body="a..b"), "names with dots between them"),
        (lambda: Routes("a").on(), "it got none"),
        (lambda: Routes("a").on(""), "it got an empty text"),
        (lambda: Routes("a").on(True), "it got the bool True"),
        (lambda: Routes("a").on(created), "it got the function <function created"),  # type: ignore[arg-type]
        (lambda: Routes("a").on("order.*"), r"exactly; it got the pattern 'order\.\*'; @rou"),
        (lambda: Routes("a").default(), r"@routes.default takes a handler; write it without \(\)"),
        (two_of_one_name, "two handlers for the type 'a': created and paid; a type has one"),
        (two_defaults, "two default handlers: created and paid"),
        (late, "added to routes that were loaded before"),
        (lambda: load(Routes("a")), "has no routes; add a handler with @routes.on"),
    ],
)
def test_wrong_declaration_is_refused(declare: Any, text: str) -> None:
    """The error says what was found and what is accepted."""
    with pytest.raises(HandlerLoadError, match=text):
        declare()


def yields(each: Event) -> Any:
    yield each


def two_needed(each: Event, more: int) -> None:
    """Take one argument too many."""


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (yields, "route 'b' is a generator function"),
        (two_needed, r"route 'b' takes \(each, more\), and is called with one event"),
        (Routes("a"), "route 'b' is an object of the type Routes, which cannot be called"),
        (3, "route 'b' is an object of the type int, which cannot"),
    ],
)
def test_each_routed_handler_is_checked_at_load(handler: Any, text: str) -> None:
    """A handler that would do nothing is found before the first event, and its route is named."""
    own = Routes(by="type")
    own.on("a")(created)
    own.on("b", "c")(handler)
    with pytest.raises(HandlerLoadError, match=text):
        load(own)


def test_wrong_default_is_named() -> None:
    """The default has no type."""
    own = Routes(by="type")
    own.on("a")(created)
    own.default(yields)
    with pytest.raises(HandlerLoadError, match="the default route is a generator function"):
        load(own)


def test_functions_stay_what_they_are() -> None:
    """A test can call a routed function."""
    assert created.__name__ == "created"
    assert list(routes.handlers) == [CREATED, PAID, "order.settled"]
