"""The shape of a handler: checks, without calling it, that a call with one event does its work."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FunctionType
from typing import Any

from processing.handlers.functions import wrapped_functions
from processing.handlers.parameters import Parameters, parameters_of

LIFETIME = ("start", "aclose")
_BODY = "Order is a pydantic model, a dataclass or a TypedDict that the body is parsed as"
_WITHOUT_YIELD = "a handler does its work when it is called, without `yield`"
_FACTORY = "write @classmethod def from_settings(cls, settings)"


def arguments_accepted(*, lists: bool) -> str:
    """Return which arguments a handler may take; `lists`: whether it may take a list of events."""
    if lists:
        return (
            "a handler takes (event: Event), (order: Order), (order: Order, event: Event) or "
            f"(events: list[Event]), also as Sequence[Event]; {_BODY}"
        )
    return (
        "a handler of a route takes (event: Event), (order: Order) or (order: Order, event: "
        f"Event), and no list of events; {_BODY}"
    )


def fault_of(found: Any, *, lists: bool = True) -> str | None:
    """Return what is wrong with a handler, as the end of "the handler …"; None: nothing is seen.

    The text ends with what is accepted instead. A class is checked without an instance. What
    `from_settings` builds is checked later.

    Args:
        found: the handler.
        lists: whether the handler may take a list of events.
    """
    if inspect.isclass(found):
        return _fault_of_class(found, lists=lists)
    if not callable(found):
        return (
            f"is an object of the type {type(found).__qualname__}, which cannot be called; a "
            "handler is a function, a class, or an object with a __call__"
        )
    if not isinstance(found, FunctionType) and (fault := _fault_of_lifetime(found)):
        return fault
    return _fault_of_call(found, _WITHOUT_YIELD) or _fault_of_arguments(found, lists=lists)


def _fault_of_class(found: type, *, lists: bool) -> str | None:
    if fault := _fault_of_factory(_read(found, "from_settings")):
        return f"is the class {found.__qualname__}, whose from_settings {fault}; {_FACTORY}"
    if not any("__call__" in vars(base) for base in found.__mro__):
        # `from_settings` may build another object.
        if hasattr(found, "from_settings"):
            return None
        return (
            f"is the class {found.__qualname__}, whose instances cannot be called; add async def "
            "__call__(self, event: Event)"
        )
    call = inspect.getattr_static(found, "__call__")
    fault = _fault_of_call(call, _WITHOUT_YIELD)
    if fault is None and isinstance(call, FunctionType):
        fault = _fault_of_arguments(call, receiver=True, lists=lists)
    if fault:
        return f"is a class whose __call__ {fault}"
    if fault := _fault_of_lifetime(found, receiver=True):
        return fault
    if hasattr(found, "from_settings") or _accepts(found):
        return None
    return (
        f"is the class {found.__qualname__}, whose constructor needs arguments, and which has no "
        f"from_settings; {_FACTORY}"
    )


def _fault_of_factory(factory: Any) -> str | None:
    """Return why `from_settings` of a class cannot build the handler; `factory` is read from it."""
    if factory is None:
        return None
    if not callable(factory):
        return "is no method"
    if inspect.iscoroutinefunction(factory):
        return "is async, which only start may be"
    if fault := _fault_of_call(factory):
        return fault
    if not _accepts(factory, None):
        return f"takes {_signature(factory)}, and is called with the app settings"
    return None


def _fault_of_call(found: Any, accepted: str = "") -> str | None:
    """Return why a call only creates an object whose code nobody runs, and what is accepted."""
    way_out = f"; {accepted}" if accepted else ""
    for number, function in enumerate(wrapped_functions(found)):
        if function.__code__ in _MANAGERS:
            return (
                f"is a context manager: a call runs nothing until `with` enters its result{way_out}"
            )
        if inspect.iscoroutinefunction(function):
            # It may iterate over the function that it wraps. A plain wrapper seldom does; its
            # result is seen only when an event has come.
            return None
        if number:
            way_out = "; make its wrapper async, or remove functools.wraps"
        if inspect.isgeneratorfunction(function):
            return f"is a generator function: a call runs nothing, because of its `yield`{way_out}"
        if inspect.isasyncgenfunction(function):
            return (
                "is an async generator function: a call runs nothing, because of its "
                f"`yield`{way_out}"
            )
    return None


def _fault_of_arguments(found: Any, *, receiver: bool = False, lists: bool) -> str | None:
    """Return why a call with one event fails; `receiver`: the function also takes an instance."""
    parameters = parameters_of(found, receiver=receiver)
    if parameters.fault:
        fault = parameters.fault
    elif parameters.many and not lists:
        fault = "takes a list of events"
    elif _accepts(found, *([None] * (parameters.count + receiver))):
        return None
    else:
        fault = f"takes {_signature(found)}, and is called with {_called_with(parameters)}"
    return fault if parameters.remedied else f"{fault}; {arguments_accepted(lists=lists)}"


def _called_with(parameters: Parameters) -> str:
    if parameters.many:
        return "one list of events"
    if parameters.body is None:
        return "one event"
    return "the parsed body and the event" if parameters.with_event else "the parsed body"


def _fault_of_lifetime(found: Any, *, receiver: bool = False) -> str | None:
    """Return why `start` or `aclose` of a handler cannot be called, or would do nothing."""
    for name in LIFETIME:
        method = inspect.getattr_static(found, name, None) if receiver else _read(found, name)
        if method is None:
            continue
        if isinstance(method, staticmethod | classmethod) or not receiver:
            method, taken = _read(found, name), 0
        else:
            taken = 1
        if not callable(method):
            return f"has the attribute {name}, which is no method; write async def {name}(self)"
        if fault := _fault_of_call(method):
            return f"has a method {name} that {fault}; write async def {name}(self)"
        if not _accepts(method, *([None] * taken)):
            return (
                f"has a method {name} that takes {_signature(method)}, and is called without "
                f"arguments; write async def {name}(self)"
            )
    return None


def _read(found: Any, name: str) -> Any:
    try:
        return getattr(found, name, None)
    except Exception:
        return None


def _accepts(found: Any, *arguments: object) -> bool:
    try:
        # A wrapper may pass other arguments than it takes: only its own signature counts.
        signature = inspect.signature(found, follow_wrapped=False)
    except (TypeError, ValueError):  # built-in functions have no signature
        return True
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _signature(found: Any) -> str:
    parameters = inspect.signature(found, follow_wrapped=False).parameters.values()
    return str(inspect.Signature([each.replace(annotation=each.empty) for each in parameters]))


def _managers() -> frozenset[Any]:
    """Return the code of the functions that contextlib's decorators return."""

    @contextmanager
    def plain() -> Iterator[None]:
        yield

    @asynccontextmanager
    async def asynchronous() -> AsyncIterator[None]:
        yield

    functions: tuple[Callable[..., Any], ...] = (plain, asynchronous)
    return frozenset(each.__code__ for each in functions if isinstance(each, FunctionType))


_MANAGERS = _managers()
