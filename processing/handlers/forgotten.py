"""Results of handlers that show that work was forgotten, failed or is not done."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from types import BuiltinFunctionType, CoroutineType, FunctionType, MethodType
from typing import Any

from processing.handlers.raised import type_name

CREATED = inspect.CORO_CREATED
_CONTAINERS = list, tuple, set, frozenset, dict
_MOST_DEEP = 3
_MOST_MEMBERS = 1_000


@contextmanager
def _plain() -> Iterator[None]:
    yield


@asynccontextmanager
async def _asynchronous() -> AsyncIterator[None]:
    yield


_MANAGERS = type(_plain()), type(_asynchronous())
_FORGOTTEN: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (inspect.iscoroutine, "a coroutine: an await is missing"),
    (inspect.isgenerator, "a generator: nobody iterates over it, so its code never runs"),
    (inspect.isasyncgen, "an async generator: nobody iterates over it, so its code never runs"),
    (inspect.isawaitable, "an awaitable: an await is missing"),
    (lambda result: isinstance(result, concurrent.futures.Future), "a future: an await is missing"),
    (lambda result: isinstance(result, _MANAGERS), "a context manager: a `with` is missing"),
    (lambda result: isinstance(result, map | filter), "an iterator: nobody iterates over it"),
    (
        lambda result: (
            isinstance(result, functools.partial | FunctionType | MethodType)
            or type(result) is BuiltinFunctionType
        ),
        "a function: its call is missing",
    ),
    (lambda result: isinstance(result, BaseException), "an exception: a raise is missing"),
)


def forgotten(result: object) -> str | None:
    """Return what a handler forgot that returns this, or None if it may have done its work.

    The first 1,000 members of lists, tuples, sets and dicts are also read, to a depth of three.
    """
    if (what := _forgotten_alone(result)) is not None:
        return what
    harmless: set[int] = set()
    for member in _members(result):
        # A large list mostly has members of few types, and the type decides for all but futures.
        if id(type(member)) in harmless:
            continue
        if (what := _undone(member)) is not None:
            return f"a {type_name(result)} with {what}"
        harmless.add(id(type(member)))
    return None


def close_unstarted(result: object) -> None:
    """Close coroutines that never started, so that Python does not warn about them."""
    for each in (result, *_members(result)):
        if isinstance(each, CoroutineType) and inspect.getcoroutinestate(each) == CREATED:
            each.close()


def _forgotten_alone(result: object) -> str | None:
    return next((what for matches, what in _FORGOTTEN if matches(result)), None)


def _undone(member: Any) -> str | None:
    """Return why the work of a member was not done; None if it may have been done."""
    if isinstance(member, BaseException):
        return "an exception: raise the error instead"
    if _is_future(member):
        if not member.done():
            return "a future that is not done: an await is missing"
        if member.cancelled():
            return "a cancelled future: its work was not done"
        if member.exception() is not None:
            return "a failed future: raise its error instead"
    return _forgotten_alone(member)


def _members(result: object) -> Iterator[object]:
    """Yield the members of a container, then theirs; a future that succeeded yields its result."""
    level, left = [result], _MOST_MEMBERS
    for _ in range(_MOST_DEEP):
        deeper: list[object] = []
        for each in level:
            # The copy is made at once, because a thread of the handler may change the container.
            members = list(islice(_iterated(each), left))
            left -= len(members)
            values = [_value(member) for member in members]
            yield from values
            deeper += [value for value in values if isinstance(value, _CONTAINERS)]
        level = deeper


def _iterated(container: object) -> Iterator[object]:
    if isinstance(container, dict):
        return iter(container.values())
    return iter(container) if isinstance(container, _CONTAINERS) else iter(())


def _value(member: Any) -> object:
    """Return the result of a future that succeeded; any other member as it is."""
    if _is_future(member) and member.done() and not member.cancelled():
        return member if member.exception() is not None else member.result()
    return member


def _is_future(member: object) -> bool:
    return isinstance(member, concurrent.futures.Future) or asyncio.isfuture(member)
