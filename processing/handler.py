"""What handles an event: loading `module:attribute` and calling it, async or plain."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from processing.errors import HandlerLoadError
from processing.event import Event

type Handler = Callable[[Event], Awaitable[None]] | Callable[[Event], None]


class LoadedHandler:
    """A handler ready to be awaited, whatever form it was written in.

    Args:
        name: how it is named in logs and poison messages.
        handler: an async function or a plain one (plain ones run in threads), or an object that
            can be called so.
        threads: how many plain calls run at once.
    """

    def __init__(self, name: str, handler: Handler, *, threads: int = 32) -> None:
        self.name = name
        self._handler = handler
        self._pool: ThreadPoolExecutor | None = None
        if _is_async(handler):
            # The handler itself, not a wrapper: this call is made once per event.
            self.handle: Callable[[Event], Awaitable[None]] = handler  # type: ignore[assignment]
        else:
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="handler")
            self.handle = self._in_thread

    async def _in_thread(self, event: Event) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self._handler, event)

    async def aclose(self) -> None:
        """Let go of threads and, if the handler has an `aclose`, of what the handler holds."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        close = getattr(self._handler, "aclose", None)
        if close is not None:
            await close()


def load_handler(spec: str, settings: Mapping[str, str], *, threads: int = 32) -> LoadedHandler:
    """Load the handler that `module:attribute` names.

    The attribute is a function `(event) -> None`, async or plain, or a class whose instances can
    be called so; a class is made with its `from_settings(settings)` if it has one.

    Raises:
        HandlerLoadError: nothing callable is there; the message says what was tried.
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
            f"{type(error).__name__}: {error}"
        ) from error
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
        if found is None:
            offered = ", ".join(name for name in vars(module) if not name.startswith("_"))
            raise HandlerLoadError(
                f"EVENT_HANDLER {spec!r}: {module_name} has no {attribute} (it has: {offered})"
            )
    if inspect.isclass(found):
        factory = getattr(found, "from_settings", None)
        found = factory(settings) if factory else found()
    if not callable(found):
        raise HandlerLoadError(
            f"EVENT_HANDLER {spec!r} is a {type(found).__name__}; it takes a function of one "
            "event, or a class whose instances can be called with one"
        )
    return LoadedHandler(spec, found, threads=threads)


def _is_async(handler: object) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(type(handler), "__call__", None)  # noqa: B004 - is its call async, not: can it
    )
