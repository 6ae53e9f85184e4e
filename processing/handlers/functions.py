"""The Python functions that a call of an object runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any


def function_of(found: Any) -> FunctionType | None:
    """Return the function that a call of this object runs, if it is written in Python."""
    for _ in range(100):
        if isinstance(found, FunctionType):
            return found
        if isinstance(found, functools.partial):
            found = found.func
        elif isinstance(found, MethodType | staticmethod | classmethod):
            found = found.__func__
        elif callable(found) and not inspect.isclass(found):
            found = getattr(type(found), "__call__", None)  # noqa: B004 - the call itself is needed
        else:
            return None
    return None


def wrapped_functions(found: Any) -> Iterator[FunctionType]:
    """Yield the function that a call runs, and the functions that it wraps."""
    seen: set[int] = set()
    while (function := function_of(found)) is not None and id(function) not in seen:
        yield function
        seen.add(id(function))
        found = getattr(function, "__wrapped__", None)


def is_async(found: object) -> bool:
    """Return whether a call of this object returns a coroutine."""
    return inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(
        getattr(type(found), "__call__", None)  # noqa: B004 - checks that the call is async, not that it exists
    )
