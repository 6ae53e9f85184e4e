"""Loading of a handler from `module:attribute`, and calls of async and plain handlers."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from processing.errors import HandlerLoadError
from processing.event import Event
from processing.handlers.time_limit import TimeLimit

logger = logging.getLogger(__name__)

type Handler = Callable[[Event], Awaitable[None]] | Callable[[Event], None]


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
    """

    def __init__(
        self,
        name: str,
        handler: Handler,
        *,
        threads: int = 32,
        timeout_seconds: float = 0,
        late: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._on_late = late
        self._handler: Any = handler
        self._timeout = timeout_seconds
        self._pool: ThreadPoolExecutor | None = None
        self._limit = TimeLimit(timeout_seconds, self._late) if timeout_seconds else None
        self.handle: Callable[[Event], Awaitable[None]]
        if not _is_async(handler):
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="handler")
            self.handle = self._in_thread
        else:
            self.handle = cast("Callable[[Event], Awaitable[None]]", handler)
            if self._limit is not None:
                self.handle = self._limit.limited(self.handle)

    async def _in_thread(self, event: Event) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        call = loop.run_in_executor(self._pool, self._handler, event)
        while self._timeout and not (await asyncio.wait({call}, timeout=self._timeout))[0]:
            outcome = "still runs in a thread; its key and its batch wait until it ends"
            self._log_late(event, loop.time() - began, outcome)
        result: Any = await call
        if inspect.isawaitable(result):  # a plain wrapper around an async function
            if self._limit is not None:
                await self._limit.limited(lambda _event: result)(event)
            else:
                await result

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
) -> LoadedHandler:
    """Load the handler that `module:attribute` names.

    The attribute is a function `(event) -> None`, async or plain, or a class with such instances.
    A class is instantiated by its `from_settings(settings)`, or without arguments.

    Raises:
        HandlerLoadError: the import failed, or the attribute is not callable.
    """
    found = find_handler(spec)
    if inspect.isclass(found):
        factory = getattr(found, "from_settings", None)
        found = factory(settings) if factory else found()
        if not callable(found):
            raise _not_callable(spec, found)
    return LoadedHandler(spec, found, threads=threads, timeout_seconds=timeout_seconds, late=late)


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
    except Exception as error:
        raise HandlerLoadError(
            f"EVENT_HANDLER {spec!r}: importing {module_name} failed: "
            f"{type(error).__name__}: {error}; it takes a module beside function_app.py, or an "
            "installed module"
        ) from error
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
        if found is None:
            offered = ", ".join(name for name in vars(module) if not name.startswith("_"))
            raise HandlerLoadError(
                f"EVENT_HANDLER {spec!r}: {module_name} has no {attribute} (it has: {offered})"
            )
    if not callable(found):
        raise _not_callable(spec, found)
    return found


def _not_callable(spec: str, found: object) -> HandlerLoadError:
    return HandlerLoadError(
        f"EVENT_HANDLER {spec!r} is a {type(found).__name__}; it takes a function of one event, or "
        "a class whose instances can be called with one event"
    )


def _is_async(handler: object) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(type(handler), "__call__", None)  # noqa: B004 - checks that the call is async, not that it exists
    )
