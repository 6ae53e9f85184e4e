"""Connections that a test leaves open, reported for this test.

Without this the garbage collector reports them in a later test, which does not know them.
"""

from __future__ import annotations

import asyncio
import weakref
from asyncio import selector_events
from collections.abc import Iterator
from typing import Any

import pytest

_Transport: Any = selector_events._SelectorTransport  # type: ignore[attr-defined]
_init = _Transport.__init__
_opened: dict[int, tuple[weakref.ref[Any], str]] = {}


def _init_and_note(self: Any, loop: Any, *args: Any, **options: Any) -> None:
    _init(self, loop, *args, **options)
    task = asyncio.current_task(loop)
    opener = getattr(task.get_coro(), "__qualname__", "") if task is not None else "no task"
    ends = f"{self._extra.get('sockname')} to {self._extra.get('peername')}"
    _opened[id(self)] = weakref.ref(self), f"{ends}, opened in {opener}"


_Transport.__init__ = _init_and_note


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Fail the test if an event loop has ended before a connection of the loop was closed."""
    try:
        return (yield)
    finally:
        left = list(_left())
        if left:
            pytest.fail(f"left open: {'; '.join(left)}", pytrace=False)


def _left() -> Iterator[str]:
    for number, (reference, what) in list(_opened.items()):
        transport = reference()
        if transport is None or transport._sock is None:
            del _opened[number]
        elif transport._loop.is_closed():
            del _opened[number]
            transport._sock.close()
            transport._sock = None
            yield what
