"""Loading of a handler from `module:attribute`, and calls of async and plain handlers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, cast

from processing.errors import DependencyUnavailableError, HandlerLoadError
from processing.event import Event
from processing.handlers.raised import absorb_own_cancellation, as_failure, describe, type_name
from processing.handlers.results import Results, close_lost
from processing.handlers.shape import ACCEPTED, fault_of
from processing.handlers.time_limit import TimeLimit
from processing.watchdog.recording import NoRecorder, Recorder, call_fields

logger = logging.getLogger(__name__)

type Handler = Callable[[Event], object]


class LoadedHandler:
    """A handler that can be awaited, whether it was written async or plain.

    Args:
        name: the handler's name in logs and poison messages.
        handler: an async or a plain function of one event, or a callable object. Plain handlers run
            in threads.
        threads: most plain calls at the same time.
        timeout_seconds: time limit of one call; 0: no limit. An async call over the limit is
            cancelled, at most a tenth of the limit late, and fails with `TimeoutError`. An
            awaitable that a plain handler returns has the same limit again. A cancelled call that
            ends without an error has succeeded.
            A plain call cannot be interrupted, and a cancelled call may not end. A second call at
            the same time would break the order of events, so the lane waits for the first call, and
            an error is logged after each further limit. Set timeouts in the handler's clients.
        late: called whenever an overdue call is logged.
        faulty: called at each call whose result shows that its work was not done.

    Attributes:
        results: what the handler returned; see `Results.settle`.
        recorder: records each call in a thread, because such a call can hold the interpreter.
    """

    def __init__(
        self,
        name: str,
        handler: Handler,
        *,
        threads: int = 32,
        timeout_seconds: float = 0,
        late: Callable[[], None] = lambda: None,
        faulty: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._on_late = late
        self.recorder: Recorder = NoRecorder()
        self._in_threads: dict[asyncio.Future[object], Event] = {}
        self._handler: Any = handler
        self._timeout = timeout_seconds
        self._pool: ThreadPoolExecutor | None = None
        self._limit = limit = TimeLimit(timeout_seconds, self._late) if timeout_seconds else None
        self._unlimited = 0  # calls that run without a time limit
        overdue = (lambda: False) if limit is None else limit.is_overdue
        self.results = Results(name, overdue=overdue, faulty=faulty)
        self.handle: Callable[[Event], Awaitable[None]]
        if not _is_async(handler):
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="handler")
            self.handle = self._in_thread
        else:
            self.handle = self._bounded(cast("Callable[[Event], Awaitable[object]]", handler))

    @property
    def in_flight(self) -> int:
        """Return the number of calls that run."""
        return self._unlimited + (0 if self._limit is None else self._limit.running)

    def _bounded[Item](
        self, function: Callable[[Item], Awaitable[object]]
    ) -> Callable[[Item], Awaitable[None]]:
        """Return the async function with the time limit, and with a check of its result."""
        settle = self.results.settle
        if self._limit is not None:
            return self._limit.limited(function, settle)

        async def call(item: Item) -> None:
            self._unlimited += 1
            try:
                result = await function(item)
                if result is not None:
                    await settle(result)
            finally:
                self._unlimited -= 1
            if (task := asyncio.current_task()) is not None and task.cancelling():
                await absorb_own_cancellation()

        return call

    async def _in_thread(self, event: Event) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        thread = self._submit(event)
        call = asyncio.wrap_future(thread)
        self._unlimited += 1
        self._in_threads[call] = event
        try:
            while self._timeout and not (await asyncio.wait({call}, timeout=self._timeout))[0]:
                outcome = "still runs in a thread; its key and its batch wait until it ends"
                self._log_late(event, loop.time() - began, outcome)
            result = await call
        except asyncio.CancelledError:
            thread.add_done_callback(close_lost)
            raise
        finally:
            self._unlimited -= 1
            del self._in_threads[call]
        if result is not None:
            await self._bounded(lambda _event: self.results.settle(result))(event)

    def _submit(self, event: Event) -> concurrent.futures.Future[object]:
        assert self._pool is not None  # noqa: S101 - a plain handler has threads
        try:
            # The thread runs in the lane's context, in which `dependency()` finds its scope.
            return self._pool.submit(copy_context().run, self._call, event)
        except RuntimeError as error:  # the threads are shut down, or the system has no more
            raise DependencyUnavailableError(f"no thread can run the handler: {error}") from error

    def _call(self, event: Event) -> object:
        """Call the handler in a thread; no error of it may end more than the event."""
        slot = self.recorder.begin("call", *call_fields(event))
        try:
            return self._handler(event)
        except BaseException as error:
            failure = as_failure(error)
            if failure is error:
                raise
            raise failure from error
        finally:
            self.recorder.end(slot)

    @property
    def running(self) -> list[Event]:
        """The events whose calls run now, as far as the handler has a time limit."""
        limited = [] if self._limit is None else self._limit.items
        items = [*self._in_threads.values(), *limited]
        return [item for item in items if isinstance(item, Event)]

    def event_of(self, task: asyncio.Task[Any]) -> Event | None:
        """Return the event of a task's call of an async handler; any thread may ask."""
        item = None if self._limit is None else self._limit.item_of(task)
        return item if isinstance(item, Event) else None

    def _late(self, event: Event, seconds: float, ended: bool) -> None:
        if ended:
            outcome = "was cancelled and ended without an error; the event counts as handled"
        else:
            outcome = "was cancelled but still runs; its key and its batch wait until it ends"
        self._log_late(event, seconds, outcome)

    def _log_late(self, event: Event, seconds: float, outcome: str) -> None:
        place = f"{event.partition}/{event.sequence_number}"
        logger.error(
            "Handler %s, event %s: after %.3g s the call %s", self.name, place, seconds, outcome
        )
        self._on_late()

    async def aclose(self) -> None:
        """Shut down the threads, and call the handler's `aclose` if it has one."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        close = getattr(self._handler, "aclose", None)
        if close is not None:
            await close()


def load_handler(
    spec: str,
    settings: Mapping[str, str],
    *,
    threads: int = 32,
    timeout_seconds: float = 0,
    late: Callable[[], None] = lambda: None,
    faulty: Callable[[], None] = lambda: None,
) -> LoadedHandler:
    """Load the handler that `module:attribute` names.

    The attribute is a function `(event) -> None`, async or plain, or a class with such instances.
    A class is instantiated by its `from_settings(settings)`, or without arguments.

    Raises:
        HandlerLoadError: the import failed, or a call of the handler with an event would fail or
            do nothing.
    """
    found = find_handler(spec)
    if inspect.isclass(found):
        found = _instance(spec, found, settings)
    return LoadedHandler(
        spec, found, threads=threads, timeout_seconds=timeout_seconds, late=late, faulty=faulty
    )


def _instance(spec: str, found: type, settings: Mapping[str, str]) -> Any:
    factory = getattr(found, "from_settings", None)
    built_by = f"{found.__qualname__}.from_settings(settings)" if factory else found.__qualname__
    try:
        built = factory(settings) if factory else found()
    except Exception as error:
        raise HandlerLoadError(
            f"EVENT_HANDLER {spec!r}: {built_by} raised {type_name(error)}: {describe(error)}"
        ) from error
    if inspect.iscoroutine(built):
        built.close()
    if fault := fault_of(built):
        raise HandlerLoadError(
            f"EVENT_HANDLER {spec!r}: what {built_by} returned {fault}; it takes {ACCEPTED}"
        )
    return built


def find_handler(spec: str) -> Any:
    """Import the object that `module:attribute` names, without instantiating a class.

    Raises:
        HandlerLoadError: see `load_handler`.
    """
    module_name, separator, attribute = spec.partition(":")
    if not separator or not module_name or not attribute:
        raise HandlerLoadError(
            f"EVENT_HANDLER is {spec!r}; it takes module:attribute, for example my_handlers:handle"
        )
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise HandlerLoadError(
            f"EVENT_HANDLER {spec!r}: importing {module_name} failed: "
            f"{type_name(error)}: {describe(error)}; it takes a module beside function_app.py, or "
            "an installed module"
        ) from error
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
        if found is None:
            offered = ", ".join(name for name in vars(module) if not name.startswith("_"))
            raise HandlerLoadError(
                f"EVENT_HANDLER {spec!r}: {module_name} has no {attribute} (it has: {offered})"
            )
    if fault := fault_of(found):
        raise HandlerLoadError(f"EVENT_HANDLER {spec!r} {fault}; it takes {ACCEPTED}")
    return found


def _is_async(handler: object) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(type(handler), "__call__", None)  # noqa: B004 - checks that the call is async, not that it exists
    )
