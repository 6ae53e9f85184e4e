"""Pydantic models, dataclasses and TypedDicts as the first parameter of a handler."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypedDict
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError

from processing.errors import EventModelError, HandlerLoadError
from processing.event import Event
from processing.handlers.bodies import body_parser
from processing.handlers.loading import load_handler
from processing.handlers.retry import FailureKind, RetryPolicy
from tests.support.processing.events import event

if TYPE_CHECKING:
    from decimal import Decimal as Unseen

POLICY = RetryPolicy(max_attempts=3, initial_seconds=0, max_seconds=0)
seen: list[Any] = []


class Order(BaseModel):
    id: int
    amount: Annotated[float, Field(gt=0)]
    iban: str = ""

    @field_validator("iban")
    @classmethod
    def _is_known(cls, iban: str) -> str:
        if iban == "down":
            raise ConnectionError("the bank's directory")
        if iban == "custom":
            raise PydanticCustomError("own", "{iban} is unknown", {"iban": iban})
        if iban:
            raise ValueError(f"{iban} is no IBAN")
        return iban


@dataclass
class Point:
    x: int


class Named(TypedDict):
    name: str


async def model(order: Order) -> None:
    seen.append(order)


async def model_and_event(order: Order, event: Event) -> None:
    seen.append((order, event.sequence_number))


def plain(order: Order, event: Event) -> None:
    seen.append((order, event.sequence_number))


def unannotated_second(order: Order, source) -> None:  # type: ignore[no-untyped-def]
    seen.append((order, source.sequence_number))


async def with_option(order: Order, times: int = 1) -> None:
    seen.append(order)


async def optional_event(order: Order, event: Event | None = None) -> None:
    seen.append((order, event and event.sequence_number))


async def a_dataclass(point: Point) -> None:
    seen.append(point)


async def a_typed_dict(named: Named) -> None:
    seen.append(named)


async def several(orders: list[Order]) -> None:
    seen.append(orders)


async def either(body: Order | Named) -> None:
    seen.append(body)


def logged(function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> None:
        await function(*args, **kwargs)

    return wrapper


@logged
async def wrapped(order: Order, event: Event) -> None:
    seen.append((order, event.sequence_number))


def parsing(function: Callable[[Order], Any]) -> Any:
    @functools.wraps(function)
    async def wrapper(each: Event) -> None:
        await function(Order.model_validate_json(each.body))

    return wrapper


@parsing
async def parsed_by_its_wrapper(order: Order) -> None:
    seen.append(order)


class Handler:
    async def __call__(self, order: Order, event: Event) -> None:
        seen.append((order, event.sequence_number))

    @logged
    async def method(self, order: Order, event: Event) -> None:
        seen.append((order, event.sequence_number))


method = Handler().method


def number(amount: int) -> None: ...
def two_bodies(order: Order, refund: Point) -> None: ...
def wrong_order(event: Event, order: Order) -> None: ...
def three(order: Order, event: Event, context: object) -> None: ...
def unseen(amount: Unseen) -> None: ...
def events(events: set[Event]) -> None: ...


class Wrong:
    def __call__(self, amount: int) -> None: ...


class Unparsable(BaseModel, arbitrary_types_allowed=False):
    missing: Missing  # type: ignore[name-defined]  # noqa: F821


def unparsable(body: Unparsable) -> None: ...


ORDER = b'{"id": 1, "amount": 2.5}'


@pytest.fixture(autouse=True)
def _empty() -> None:
    seen.clear()


async def call(name: str, body: bytes) -> None:
    handler = load_handler(f"{__name__}:{name}", {}, timeout_seconds=60)
    await handler.start()
    try:
        await handler.handle(replace(event(7), body=body))
    finally:
        await handler.aclose()


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("model", ORDER, Order(id=1, amount=2.5)),
        ("model", b"\xef\xbb\xbf" + ORDER, Order(id=1, amount=2.5)),
        ("model_and_event", ORDER, (Order(id=1, amount=2.5), 7)),
        ("plain", ORDER, (Order(id=1, amount=2.5), 7)),
        ("unannotated_second", ORDER, (Order(id=1, amount=2.5), 7)),
        ("with_option", ORDER, Order(id=1, amount=2.5)),
        ("optional_event", ORDER, (Order(id=1, amount=2.5), 7)),
        ("a_dataclass", b'{"x": 3}', Point(3)),
        ("a_typed_dict", b'{"name": "a"}', {"name": "a"}),
        ("several", b"[" + ORDER + b"]", [Order(id=1, amount=2.5)]),
        ("either", b'{"name": "a"}', {"name": "a"}),
        ("wrapped", ORDER, (Order(id=1, amount=2.5), 7)),
        ("parsed_by_its_wrapper", ORDER, Order(id=1, amount=2.5)),
        ("Handler", ORDER, (Order(id=1, amount=2.5), 7)),
        ("method", ORDER, (Order(id=1, amount=2.5), 7)),
    ],
)
async def test_body_is_parsed_as_the_type_of_the_first_parameter(
    name: str, body: bytes, expected: object
) -> None:
    """The annotations of this module are texts, as `from __future__ import annotations` makes."""
    await call(name, body)
    assert seen == [expected]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"id": "secret", "amount": -77}', r"id: Input should be a valid integer.*; amount: "),
        (b"{}", "id: Field required; amount: Field required"),
        (b"", r"\(body\): Invalid JSON: EOF while parsing"),
        (b"\xff\xfe", r"\(body\): Invalid JSON"),
        (b'{"id": 1, "amount": 1, "iban": "secret"}', "iban: value_error$"),
        (b'{"id": 1, "amount": 1, "iban": "custom"}', "iban: own$"),
    ],
)
@pytest.mark.parametrize("name", ["model", "plain"])
async def test_body_that_does_not_fit_is_poison_at_once(name: str, body: bytes, says: str) -> None:
    """The text names the fields and no value, because it goes to the log."""
    handler = load_handler(f"{__name__}:{name}", {}, timeout_seconds=60)
    failure = await POLICY.run(handler.handle, replace(event(1), body=body))
    await handler.aclose()
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.POISON, 1)
    with pytest.raises(EventModelError, match=f"the body is no Order: {says}"):
        raise failure.error
    for value in ("secret", "77", "custom is"):
        assert value not in str(failure.error)
    assert failure.error.__suppress_context__
    assert seen == []


class Inner(BaseModel):
    size: int = Field(validation_alias="größe")


class Nested(BaseModel, extra="forbid"):
    amounts: dict[str, int] = {}
    numbers: dict[int, int] = {}
    small: dict[Annotated[str, Field(max_length=3)], int] = {}
    inner: list[Inner] = []
    either: int | list[Inner] | Point = 0
    uuid: UUID | None = None


async def nested(order: Nested) -> None: ...


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"amounts": {"ann@example.com": "x"}}, "amounts.*: Input should be a valid integer"),
        ({"numbers": {"4111111111111111": "x"}}, "numbers.*: Input should be a valid integer"),
        ({"small": {"4111111111111111": 1}}, "small.*.[key]: String should have at most 3"),
        ({"4111111111111111": 1}, "*: Extra inputs are not permitted"),
        ({"inner": [{"größe": 1}, {"größe": "x"}]}, "inner.1.größe: Input should be a valid"),
        ({"either": {}}, "either.int: Input should be a valid integer; either.*: Input should"),
        ({"either": {}}, "; either.Point.x: Field required"),
        ({"uuid": "some secret"}, "uuid: uuid_parsing"),
    ],
)
async def test_keys_of_the_body_are_not_in_the_text(body: object, says: str) -> None:
    """Only what the model names is shown: its fields, and the types of a union."""
    with pytest.raises(EventModelError, match=re.escape(says)):
        await call("nested", json.dumps(body).encode())


async def test_text_of_a_wrong_body_is_short() -> None:
    body = b"[" + b",".join([b'{"id": "x"}'] * 10_000) + b"]"
    with pytest.raises(EventModelError, match="and 19995 more") as caught:
        await call("several", body)
    assert len(str(caught.value)) < 1_000


async def test_error_of_a_validator_keeps_its_meaning() -> None:
    """A directory that is down does not make the event poison."""
    handler = load_handler(model, {}, timeout_seconds=60)
    body = b'{"id": 1, "amount": 1, "iban": "down"}'
    failure = await POLICY.run(handler.handle, replace(event(1), body=body))
    assert failure is not None
    assert failure.kind is FailureKind.DEPENDENCY


async def test_error_of_another_model_in_the_handler_is_ordinary() -> None:
    """The answer of a server that does not validate says nothing about the event."""

    async def reads_an_answer(order: Order) -> None:
        Point2.model_validate({})

    handler = load_handler(reads_an_answer, {}, timeout_seconds=60)
    failure = await POLICY.run(handler.handle, replace(event(1), body=ORDER))
    assert failure is not None
    assert failure.kind is FailureKind.EXHAUSTED


class Point2(BaseModel):
    x: int


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("number", "takes a first parameter amount of type int, which is neither"),
        ("events", r"takes a first parameter events of type set\["),
        ("two_bodies", "takes a second parameter refund of type Point; the only one after Order"),
        ("wrong_order", r"takes \(event, order\), and is called with one event"),
        ("three", r"takes \(order, event, context\), and is called with the parsed body and the"),
        ("unseen", r"parameter amount whose type 'Unseen' cannot be found \(NameError.*TYPE_CHECK"),
        ("Wrong", "is a class whose __call__ takes a first parameter amount of type int"),
        ("unparsable", "bodies cannot be parsed as Unparsable: PydanticUserError"),
    ],
)
def test_wrong_parameter_is_refused_when_the_app_starts(name: str, says: str) -> None:
    with pytest.raises(HandlerLoadError, match=says):
        load_handler(f"{__name__}:{name}", {})


def test_parameter_without_pydantic_is_refused_when_the_app_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(HandlerLoadError, match="takes Point, which needs the package pydantic"):
        load_handler(a_dataclass, {})


@pytest.mark.parametrize("annotation", [list[Order], Sequence[Order], list[Order] | None])
def test_one_order_for_a_list_of_orders_gets_a_hint(annotation: Any) -> None:
    """The author of the handler may have meant the bodies of many events."""
    parse = body_parser(annotation)
    with pytest.raises(EventModelError, match=r"; a handler of many events takes list\[Event\]$"):
        parse(b'{"id": 1, "amount": 1}')
    with pytest.raises(EventModelError) as caught:
        parse(b'[{"id": "a"}]')
    assert "many events" not in str(caught.value)
