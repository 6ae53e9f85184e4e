"""Aliases, type variables, decorators and texts in the first parameter of a handler."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Generic, Optional, Protocol, TypeVar

import pytest
from pydantic import BaseModel, Field

from processing.errors import HandlerLoadError
from processing.event import Event
from processing.handlers.loading import load_handler
from tests.support.processing.events import event

T = TypeVar("T")
AnyEvent = TypeVar("AnyEvent", bound="Event")
seen: list[Any] = []


def note(first: Any) -> Any:
    seen.append(first)


class Order(BaseModel):
    id: int


class Marker(Protocol):
    """Metadata of an annotation."""


class MyEvent(Event):
    """A type of the app."""


type EventAlias = Event
type AliasOfAlias = EventAlias | None
type OrderAlias = Order
type Orders = list[Orders] | Order
type Loop = Loop  # type: ignore[misc]


def event_alias(each: EventAlias) -> None:
    note(each)


def alias_of_alias(each: AliasOfAlias) -> None:
    note(each)


def maybe_event(each: Optional["Event"]) -> None:
    note(each)


def any_event(each: AnyEvent) -> Any:  # noqa: UP047 - the old form
    return note(each)


def anything[X](each: X) -> Any:
    return note(each)


def order_alias(order: OrderAlias) -> None:
    note(order)


def orders(body: Orders) -> None:
    note(body)


def maybe_order(order: Optional["Order"]) -> None:
    note(order)


def marked_order(order: Annotated["Order", Field(), Marker]) -> None:
    note(order)


def passing[**P](function: Callable[P, None]) -> Callable[P, None]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        function(*args, **kwargs)

    return wrapper


def with_rate(_rate: float, order: Order) -> None:
    note(order)


part = functools.partial(passing(order_alias))
part_with_rate = functools.partial(passing(with_rate), 1.5)


class Base(Generic[T]):  # noqa: UP046 - the old form
    def __call__(self, body: T) -> None:
        note(body)


class OfOrders(Base[Order]):
    pass


class NewBase[X]:
    def __call__(self, body: X | None) -> None:
        note(body)


class OfOrdersToo(NewBase[Order]):
    pass


def any_model[X: BaseModel](body: X) -> Any:
    return note(body)


def one_of[X: (Order, int)](body: X) -> Any:
    return note(body)


def own_event(each: MyEvent) -> None:
    note(each)


def order_or_own_event(each: Order | MyEvent) -> None:
    note(each)


def loop(each: Loop) -> None:
    note(each)


def list_of_unknown(each: list["Unknown"]) -> None:  # type: ignore[name-defined]  # noqa: F821
    note(each)


async def call(handler: Any) -> Any:
    seen.clear()
    loaded = load_handler(handler, {}, timeout_seconds=60)
    await loaded.start()
    await loaded.handle(replace(event(7), body=b'{"id": 1}'))
    await loaded.aclose()
    return seen[0]


@pytest.mark.parametrize("handler", [event_alias, alias_of_alias, maybe_event, any_event, anything])
async def test_other_name_of_the_event_means_the_event(handler: Any) -> None:
    """Otherwise each event would be poisoned at once, because no body is an event."""
    assert isinstance(await call(handler), Event)


@pytest.mark.parametrize(
    "handler",
    [order_alias, orders, maybe_order, marked_order, part, part_with_rate],
)
async def test_other_form_of_a_model_means_the_model(handler: Any) -> None:
    """Aliases may contain themselves, texts may be inside, and a partial may hide a decorator."""
    assert await call(handler) == Order(id=1)


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (OfOrders, r"body of type ~T, which depends on the type variable ~T; name the event or"),
        (OfOrdersToo, "body of type .*, which depends on the type variable X"),
        (any_model, "body of type X, which depends on the type variable X"),
        (one_of, "body of type X, which depends on the type variable X"),
        (own_event, "each of type MyEvent, which is neither the event nor a type for its body"),
        (order_or_own_event, "each of type .*MyEvent, which is neither the event nor"),
        (loop, "each of type Loop, which is neither the event nor a type for its body"),
        (list_of_unknown, r"each whose type list\['Unknown'\] cannot be found \(NameError"),
    ],
)
def test_parameter_that_could_mean_either_is_refused(handler: Any, says: str) -> None:
    """A wrong guess would poison each event."""
    with pytest.raises(HandlerLoadError, match=says):
        load_handler(handler, {})
