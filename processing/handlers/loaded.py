"""A loaded handler: calls of async and plain handlers, with their time limit."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, cast

from processing.errors import DependencyUnavailableError, HandlerLoadError
from processing.event import Event
from processing.handlers.bodies import with_parsed_body
from processing.handlers.functions import is_async
from processing.handlers.lifetime import CLOSE_SECONDS, Lifetime
from processing.handlers.parameters import parameters_of
from processing.handlers.raised import NotStartedError, absorb_own_cancellation, as_failure
from processing.handlers.results import Results, close_lost
from processing.handlers.route_table import RouteTable
from processing.handlers.time_limit import TimeLimit
from processing.watchdog.recording import NoRecorder, Recorder, call_fields

logger = logging.getLogger(__name__)

type Handler = Callable[..., object]
type Item = Event | tuple[Event, ...]
"""The subject of one call: an event, or the events of a list."""


class LoadedHandler:
    """A handler that can be awaited, whether it was written async or plain.

    Args:
        name: the handler's name in logs and poison messages.
        handler: an async or a plain function of one event or of a list of events, a callable
            object, or a table of handlers of one event. Plain handlers run in threads. None:
            `lifetime` builds the handler.
        threads: most plain calls at the same time.
        timeout_seconds: time limit of one call; 0: no limit. An async call over the limit is
            cancelled, at most a tenth of the limit late, and fails with `TimeoutError`. An
            awaitable that a plain handler returns has the same limit again. A cancelled call that
            ends without an error has succeeded.
            A plain call cannot be interrupted, and a cancelled call may not end. A second call at
            the same time would break the order of events, so the lane waits for the first call, and
            an error is logged after each further limit. Set timeouts in the handler's clients.
        lifetime: builds, starts and closes the handler; None: the handler has no state.
        late: called whenever an overdue call is logged.
        faulty: called at each call whose result shows that its work was not done.

    Attributes:
        takes_lists: whether a call takes a list of events; known when the handler has started.
        results: what the handler returned; see `Results.settle`.
        recorder: records each call in a thread, because such a call can hold the interpreter.
    """

    def __init__(
        self,
        name: str,
        handler: Handler | RouteTable | None,
        *,
        lifetime: Lifetime | None = None,
        threads: int = 32,
        timeout_seconds: float = 0,
        late: Callable[[], None] = lambda: None,
        faulty: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._on_late = late
        self.recorder: Recorder = NoRecorder()
        self._in_threads: dict[asyncio.Future[object], Item] = {}
        self._lifetime = lifetime
        self._timeout = timeout_seconds
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._left: set[concurrent.futures.Future[object]] = set()  # calls without their lanes
        self._limit = limit = TimeLimit(timeout_seconds, self._late) if timeout_seconds else None
        self._unlimited = 0  # calls that run without a time limit
        overdue = (lambda: False) if limit is None else limit.is_overdue
        self.results = Results(name, overdue=overdue, faulty=faulty)
        self.takes_lists = False
        self.handle: Callable[[Event], Awaitable[None]]
        self._bound: Callable[[Event], Awaitable[None]] = self._not_started
        self._bound_list: Callable[[tuple[Event, ...]], Awaitable[None]] = self._not_started
        if lifetime is not None:
            lifetime.loop_ends = self._threads_end
            lifetime.broken = self._note_broken
        if lifetime is None and handler is not None:
            self.handle = self._bind(handler)
        else:
            self.handle = self._dispatch

    def _dispatch(self, event: Event) -> Awaitable[None]:
        # Processors keep `handle`, and each start binds another handler.
        return self._bound(event)

    def handle_list(self, events: tuple[Event, ...]) -> Awaitable[None]:
        """Handle a list of events with one call; only for a handler that takes lists."""
        return self._bound_list(events)

    def _bind(self, handler: Handler | RouteTable) -> Callable[[Event], Awaitable[None]]:
        if isinstance(handler, RouteTable):
            return handler.bind(self._bind)
        if not parameters_of(handler).many:
            return self._calls(handler, asynchronous=is_async(handler))
        # Each list is the handler's own: it may change the list.
        listing = partial(_call_with_list, handler)
        self._bound_list = call = self._calls(listing, asynchronous=is_async(handler))
        self.takes_lists = True
        return lambda event: call((event,))

    def _calls(self, handler: Handler, *, asynchronous: bool) -> Callable[[Any], Awaitable[None]]:
        if asynchronous:
            return self._bounded(cast("Callable[[Item], Awaitable[object]]", handler))
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="handler")
        return partial(self._in_thread, handler)

    async def _not_started(self, _item: Item) -> None:
        raise NotStartedError(f"handler {self.name} is not started, or it is closed")

    async def start(self) -> None:
        """Build and start a handler with state; without one, and after a start, do nothing.

        Concurrent calls share one start. The start and the close run in one task.

        Raises:
            HandlerStartError: the handler could not be built or started, and is closed; the next
                call tries again with a new one.
            NotStartedError: the handler is closed.
        """
        if self._lifetime is None or self.started:
            return
        try:
            handler = await self._lifetime.start()
        except HandlerLoadError as error:
            self.results.unstarted = str(error)
            raise
        self.results.unstarted = ""
        if not self.started:  # another call may have bound it during the wait
            self._bound = self._bind(with_parsed_body(handler))
            logger.info("Handler %s has started", self.name)

    async def start_and_handle(self, event: Event) -> None:
        """Handle an event, after a start if the handler has not started.

        A tool that may need no call at all uses this, so that it works while the start fails.

        Raises:
            DependencyUnavailableError: the handler did not start; the event is kept.
        """
        try:
            await self.start()
        except HandlerLoadError as error:
            raise DependencyUnavailableError(str(error)) from error
        await self.handle(event)

    @property
    def started(self) -> bool:
        """Return whether events can be handled."""
        return self._lifetime is None or self._bound != self._not_started

    def on_loop_end(self, idle: Callable[[], Awaitable[None]]) -> None:
        """Set what is awaited before the close if the event loop ends without `aclose`.

        Args:
            idle: stops the start of events, and waits until the last one has ended.
        """

        async def ended() -> None:
            await idle()
            await self._threads_end()

        if self._lifetime is not None:
            self._lifetime.loop_ends = ended

    def _note_broken(self, reason: str) -> None:
        self.results.broken = reason

    async def _threads_end(self) -> None:
        """Wait until no call runs in a thread, for at most `CLOSE_SECONDS`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + CLOSE_SECONDS
        # Worker threads remove their calls from `_left`.
        while calls := {*self._in_threads, *map(asyncio.wrap_future, tuple(self._left))}:
            if (seconds := end - loop.time()) <= 0:
                return
            await asyncio.wait(calls, timeout=seconds)

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

    async def _in_thread(self, handler: Handler, item: Item) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        thread = self._submit(handler, item)
        call = asyncio.wrap_future(thread)
        self._unlimited += 1
        self._in_threads[call] = item
        try:
            while self._timeout and not (await asyncio.wait({call}, timeout=self._timeout))[0]:
                outcome = "still runs in a thread; its key and its batch wait until it ends"
                self._log_late(item, loop.time() - began, outcome)
            result = await call
        except asyncio.CancelledError:
            thread.add_done_callback(close_lost)
            self._left.add(thread)
            thread.add_done_callback(self._left.discard)
            raise
        finally:
            self._unlimited -= 1
            del self._in_threads[call]
        if result is not None:
            await self._bounded(lambda _item: self.results.settle(result))(item)

    def _submit(self, handler: Handler, item: Item) -> concurrent.futures.Future[object]:
        assert self._pool is not None  # noqa: S101 - a plain handler has threads
        try:
            # The thread runs in the lane's context, in which `dependency()` finds its scope.
            return self._pool.submit(copy_context().run, self._call, handler, item)
        except RuntimeError as error:  # the threads are shut down, or the system has no more
            raise DependencyUnavailableError(f"no thread can run the handler: {error}") from error

    def _call(self, handler: Handler, item: Item) -> object:
        """Call the handler in a thread; no error of it may end more than the event."""
        slot = self.recorder.begin("call", *call_fields(_events_of(item)[0]))
        try:
            return handler(item)
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
        return [event for item in items for event in _events_of(item)]

    def event_of(self, task: asyncio.Task[Any]) -> Event | None:
        """Return the first event of a task's call of an async handler; any thread may ask."""
        item = None if self._limit is None else self._limit.item_of(task)
        return next(iter(_events_of(item)), None)

    def _late(self, item: Item, seconds: float, ended: bool) -> None:
        if ended:
            outcome = "was cancelled and ended without an error; the event counts as handled"
        else:
            outcome = "was cancelled but still runs; its key and its batch wait until it ends"
        self._log_late(item, seconds, outcome)

    def _log_late(self, item: Item, seconds: float, outcome: str) -> None:
        first, *others = _events_of(item)
        place = f"{first.partition}/{first.sequence_number}"
        if others:
            place += f" and {len(others)} more in one list"
        logger.error(
            "Handler %s, event %s: after %.3g s the call %s", self.name, place, seconds, outcome
        )
        self._on_late()

    async def aclose(self) -> None:
        """Close the handler once; no call of it starts afterwards.

        Calls that still run in threads get `CLOSE_SECONDS` to end before that.
        """
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._lifetime is None:
            return
        await self._threads_end()
        self._bound = self._bound_list = self._not_started
        await self._lifetime.aclose()


def _call_with_list(handler: Handler, events: tuple[Event, ...]) -> object:
    return handler([*events])


def _events_of(item: object) -> tuple[Event, ...]:
    """Return the events of a running call; a wait for a result has none."""
    if isinstance(item, Event):
        return (item,)
    return item if isinstance(item, tuple) else ()
