"""The handlers of routes, checked, built, started and closed together."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from processing.errors import HandlerLoadError, HandlerStartError
from processing.event import Event
from processing.handlers.bodies import with_parsed_body
from processing.handlers.checking import check_handler, has_state, instance_of
from processing.handlers.lifetime import CLOSE_SECONDS, awaited, call_method, in_thread
from processing.handlers.own_frames import note_handler
from processing.handlers.raised import describe, type_name
from processing.handlers.routes import RouteName, Routes
from processing.handlers.start_text import start_text

logger = logging.getLogger(__name__)

type Call = Callable[[Event], Awaitable[None]]

_CLOSE_SHARE = 0.9
"""Share of `CLOSE_SECONDS` that the handlers divide among themselves."""


def check_routes(routes: Routes, named: str) -> None:
    """Check each handler of the routes as a handler that stands alone.

    Raises:
        HandlerLoadError: a call of a handler would fail or do nothing, or there are no routes.
    """
    try:
        routes.load()
    except HandlerLoadError as error:
        raise HandlerLoadError(f"{named} {error}") from None
    for where, handler in _members(routes):
        check_handler(handler, f"{named}: {where}", lists=False)
        note_handler(getattr(handler, "__module__", None) or type(handler).__module__)


def routes_have_state(routes: Routes) -> bool:
    """Return whether a handler of the routes is built or started before its first call."""
    return any(has_state(handler) for _, handler in _members(routes))


def routes_have_classes(found: object) -> bool:
    """Return whether the handler is routes whose next load builds new objects."""
    if not isinstance(found, Routes):
        return False
    return any(inspect.isclass(handler) for _, handler in _members(found))


class RouteTable:
    """The handlers of one load of routes; classes have one instance, whatever number of routes.

    Args:
        routes: the routes, checked by `check_routes`.
        name: name of the handler in logs and errors.
        settings: the app settings, for `from_settings`.

    Attributes:
        unfinished_start: the thread of a plain `start` that was interrupted; None: there is none.
    """

    def __init__(self, routes: Routes, name: str, settings: Mapping[str, str]) -> None:
        self._routes = routes
        self._name = name
        self._settings = settings
        self._built: dict[int, Any] = {}  # by the id of the registered function or class
        self.unfinished_start: asyncio.Future[object] | None = None

    def build(self) -> None:
        """Instantiate the classes, in the order of their routes.

        Raises:
            HandlerLoadError: see `instance_of`.
        """
        for where, handler in _members(self._routes):
            built = handler
            if inspect.isclass(handler):
                named = f"handler {self._name}, {where}"
                built = instance_of(named, handler, self._settings, lists=False)
            self._built[id(handler)] = built

    def bind(self, bind: Callable[[Any], Call]) -> Call:
        """Return a function that calls the handler of an event's type.

        Args:
            bind: returns the call of one handler of an event.
        """
        bound = {key: bind(with_parsed_body(built)) for key, built in self._built.items()}
        calls = {name: bound[id(each)] for name, each in self._routes.handlers.items()}
        default = self._routes.default_handler
        otherwise = None if default is None else bound[id(default)]
        read, unknown = self._routes.selector.read, self._routes.unknown

        def routed(event: Event) -> Awaitable[None]:
            found = read(event)
            call = otherwise
            if type(found) is str or type(found) is int:  # True would be found as 1
                call = calls.get(found, otherwise)
            if call is None:
                raise unknown(found)
            return call(event)

        return routed

    async def start(self) -> None:
        """Build and start the handlers, one after another in one task.

        Raises:
            HandlerStartError: a handler could not be built or started.
        """
        self.build()
        for handler in self._built.values():
            if (method := getattr(handler, "start", None)) is None:
                continue
            try:
                await self._start(method)
            except HandlerLoadError:
                raise
            except Exception as error:
                raise HandlerStartError(
                    f"handler {self._name} did not start: start of {_name_of(handler)} raised "
                    f"{start_text(error, self._settings)}"
                ) from error
            except asyncio.CancelledError:
                logger.error(  # noqa: TRY400 - the cancellation is no error of this code
                    "Handler %s: start of %s was interrupted", self._name, _name_of(handler)
                )
                raise

    async def _start(self, method: Callable[[], object]) -> None:
        if inspect.iscoroutinefunction(method):
            await method()
            return
        thread = self.unfinished_start = in_thread(method)
        result = await asyncio.shield(thread)
        self.unfinished_start = None
        await awaited(result)

    async def aclose(self) -> None:
        """Close the handlers in reverse order; an error of one is logged only.

        Each handler has an equal share of the time that is left.
        """
        closers = [
            (handler, close)
            for handler in reversed(self._built.values())
            if (close := getattr(handler, "aclose", None)) is not None
        ]
        now = asyncio.get_running_loop().time
        end = now() + CLOSE_SECONDS * _CLOSE_SHARE
        for done, (handler, close) in enumerate(closers):
            seconds = max(0.0, end - now()) / (len(closers) - done)
            limit = asyncio.timeout(seconds)
            try:
                async with limit:
                    await call_method(close)
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError):
                    raise
                what = f"raised {type_name(error)}: {describe(error)}"
                if limit.expired():
                    what = f"took longer than {seconds:.3g} s"
                logger.error(  # noqa: TRY400 - the process ends, and the text names the cause
                    "Handler %s: aclose of %s %s; what it holds may stay open until the process "
                    "ends",
                    *(self._name, _name_of(handler), what),
                )


def _members(routes: Routes) -> list[tuple[str, Any]]:
    """Return each handler with the name of its first route, and the default."""
    members: dict[int, tuple[str, Any]] = {}
    for name, handler in routes.handlers.items():
        members.setdefault(id(handler), (_where(name), handler))
    default = routes.default_handler
    if default is not None:
        members.setdefault(id(default), ("the default route", default))
    return list(members.values())


def _where(name: RouteName) -> str:
    return f"route {name!r}"


def _name_of(handler: Any) -> str:
    return str(getattr(handler, "__qualname__", type(handler).__qualname__))
