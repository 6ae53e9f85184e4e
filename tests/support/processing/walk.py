"""The modules that one event's call goes through, followed with `sys.monitoring`."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

_EVENTS = sys.monitoring.events
_PACKAGES = ("breakwater", "processing", "breaker")


class Walk:
    """A recorder of the modules that an event's call passes on the way to its stops.

    At the start of each function of ours the monitor reads the chain of callers, from the trigger
    to that function. The chain continues over awaits and from a task to the creator of the task.
    When the function is a stop, the modules on the chain are the way to the stop. Successive
    functions of one module are one entry. A call that has returned is no longer on the chain, so a
    helper (a check of the gate, the opening of progress) is on no way, but in `helpers`.

    Args:
        stops: the functions to reach, by their name in the walk.

    Attributes:
        ways: each arrival in order: the stop's name and the modules on its chain.
        helpers: modules that were entered and left before a stop was reached.
    """

    def __init__(self, stops: dict[str, Callable[..., Any]]) -> None:
        self._stops = {_code(function): name for name, function in stops.items()}
        self._creators: dict[asyncio.Task[Any], list[str]] = {}
        self._entered: set[str] = set()
        self.ways: list[tuple[str, tuple[str, ...]]] = []

    @property
    def entries(self) -> list[str]:
        """The modules in the order in which they are entered, from the trigger to the last stop.

        Two successive ways may share their first modules, which count as entered once.
        """
        found: list[str] = []
        before: tuple[str, ...] = ()
        for _, way in self.ways:
            shared = 0
            while shared < min(len(way), len(before)) and way[shared] == before[shared]:
                shared += 1
            found += way[shared:]
            before = way
        return found

    @property
    def modules(self) -> list[str]:
        """The modules of processing and breaker on the way, each once."""
        return [name for name in Counter(self.entries) if name != "breakwater.functions"]

    @property
    def helpers(self) -> list[str]:
        """Modules that were entered, but returned before a stop."""
        return sorted(self._entered - set(self.entries))

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow the calls in this event loop until the block ends."""
        loop, tool = asyncio.get_running_loop(), sys.monitoring.PROFILER_ID
        factory = loop.get_task_factory()
        sys.monitoring.use_tool_id(tool, "walk")
        sys.monitoring.register_callback(tool, _EVENTS.PY_START, self._started)
        sys.monitoring.set_events(tool, _EVENTS.PY_START)
        loop.set_task_factory(self._create)
        # Tasks that started earlier, such as the circuit's watcher, are not the event's.
        if (task := _current_task()) is not None:
            self._creators[task] = []
        try:
            yield
        finally:
            loop.set_task_factory(factory)
            sys.monitoring.set_events(tool, 0)
            sys.monitoring.register_callback(tool, _EVENTS.PY_START, None)
            sys.monitoring.free_tool_id(tool)

    def _create(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        self._creators[task] = self._chain(sys._getframe(1))
        return task

    def _started(self, code: CodeType, _offset: int) -> None:
        frame = sys._getframe(1)
        if (name := self._stops.get(code)) is not None:
            self.ways.append((name, tuple(self._chain(frame))))
        elif (module := _module(frame)) is not None and _current_task() in self._creators:
            self._entered.add(module)

    def _chain(self, frame: FrameType | None) -> list[str]:
        found: list[str] = []
        while frame is not None:
            if (module := _module(frame)) is not None:
                found.append(module)
            frame = frame.f_back
        task = _current_task()
        chain = [*(self._creators.get(task, []) if task else []), *reversed(found)]
        return [name for name, last in zip(chain, [None, *chain], strict=False) if name != last]


def _code(function: Callable[..., Any]) -> CodeType:
    found = getattr(function, "__func__", function).__code__
    assert isinstance(found, CodeType)
    return found


def _module(frame: FrameType) -> str | None:
    name = str(frame.f_globals.get("__name__", ""))
    return name if name.partition(".")[0] in _PACKAGES else None


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
