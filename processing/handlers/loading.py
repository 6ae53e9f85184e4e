"""What handles an event: loading `module:attribute` and calling it, async or plain."""

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
    """A handler ready to be awaited, whatever form it was written in.

    Args:
        name: how it is named in logs and poison messages.
        handler: an async function or a plain one (plain ones run in threads), or an object that
            can be called so.
        threads: how many plain calls run at once.
        timeout_seconds: how long one call may take; 0 for as long as it wants. An async handler
            that takes longer is cancelled, at most a tenth late, and has failed with
            `TimeoutError`; so has an awaitable that a plain one returns, with as long a limit of
            its own. A thread can't be interrupted, and what is cancelled may not end. A second
            call beside it would break the order: it is waited for, with an error in the log for
            each further limit that it takes, so give its clients timeouts of their own. One that
            ends without an error, though it was cancelled, has succeeded.
        late: told each time that the log is.
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
            what = "goes on: a thread is waited for, its key and its batch with it"
            self._log_late(event, loop.time() - began, what)
        result: Any = await call
        if inspect.isawaitable(result):  # a plain wrapper around an async function
            if self._limit is not None:
                await self._limit.limited(lambda _event: result)(event)
            else:
                await result

    def _late(self, event: Event, seconds: float, ended: bool) -> None:
        if ended:
            what = "was cancelled and ended without an error: the event counts as handled"
        else:
            what = "was cancelled and goes on: it is waited for, its key and its batch with it"
        self._log_late(event, seconds, what)

    def _log_late(self, event: Event, seconds: float, what: str) -> None:
        place = f"{event.partition}/{event.sequence_number}"
        logger.error("Handler %s, event %s, after %.3g s, %s", self.name, place, seconds, what)
        self._on_late()

    async def aclose(self) -> None:
        """Let go of threads and, if the handler has an `aclose`, of what the handler holds."""
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

    The attribute is a function `(event) -> None`, async or plain, or a class whose instances can
    be called so; a class is made with its `from_settings(settings)` if it has one.

    Raises:
        HandlerLoadError: nothing callable is there; the message says what was tried.
    """
    found = find_handler(spec)
    if inspect.isclass(found):
        factory = getattr(found, "from_settings", None)
        found = factory(settings) if factory else found()
        if not callable(found):
            raise _not_callable(spec, found)
    return LoadedHandler(spec, found, threads=threads, timeout_seconds=timeout_seconds, late=late)


def find_handler(spec: str) -> Any:
    """Import what `module:attribute` names, without making an instance of a class.

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
            "installed one"
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
        "a class whose instances can be called with one"
    )


def _is_async(handler: object) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(type(handler), "__call__", None)  # noqa: B004 - is its call async, not: can it
    )
