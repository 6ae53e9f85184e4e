"""Loading of handlers: from `module:attribute`, a function, a class, an object or routes."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from processing.errors import HandlerLoadError
from processing.handlers.bodies import with_parsed_body
from processing.handlers.checking import check_handler, has_state, instance_of
from processing.handlers.lifetime import START_SECONDS, Lifetime
from processing.handlers.loaded import Handler, LoadedHandler
from processing.handlers.missing import missing_text
from processing.handlers.own_frames import note_handler, own_place
from processing.handlers.raised import describe, type_name
from processing.handlers.route_table import RouteTable, check_routes, routes_have_state
from processing.handlers.routes import Routes
from processing.handlers.start_text import start_text

__all__ = ["Handler", "LoadedHandler", "find_handler", "load_handler"]


def load_handler(
    handler: Any,
    settings: Mapping[str, str],
    *,
    threads: int = 32,
    timeout_seconds: float = 0,
    late: Callable[[], None] = lambda: None,
    faulty: Callable[[], None] = lambda: None,
) -> LoadedHandler:
    """Load a handler; call `start` before the first event, and `aclose` after the last one.

    A function or an object is called with each event, a class is instantiated at the start by its
    `from_settings(settings)`, or without arguments. An object with state has an async or plain
    `start` and `aclose`, both without arguments. `Routes` hold several of these. See
    `parameters_of` for the arguments of a call.

    Args:
        handler: `module:attribute`, or a function, a class, a callable object or `Routes`.
        settings: the app settings, for `from_settings`.
        threads: see `LoadedHandler`.
        timeout_seconds: see `LoadedHandler`; 0: the start has no limit, either.
        late: see `LoadedHandler`.
        faulty: see `LoadedHandler`.

    Raises:
        HandlerLoadError: the import failed, or a call of the handler with an event would fail or
            do nothing.
    """
    if isinstance(handler, str):
        name, named, found = handler, f"EVENT_HANDLER {handler!r}", find_handler(handler)
    else:
        name = named = _name_of(handler)
        found = handler
        _check(found, f"handler {named}")
    lifetime = None
    if _needs_lifetime(found):

        def build() -> Any:
            if isinstance(found, Routes):
                return RouteTable(found, name, settings)
            return instance_of(named, found, settings) if inspect.isclass(found) else found

        # Without a time limit for calls, as under a debugger, the start has none, either.
        seconds = max(START_SECONDS, timeout_seconds) if timeout_seconds else 0
        lifetime = Lifetime(
            name, build, text=lambda error: start_text(error, settings), start_seconds=seconds
        )
    return LoadedHandler(
        name,
        None if lifetime is not None else _without_state(found, name, settings),
        lifetime=lifetime,
        threads=threads,
        timeout_seconds=timeout_seconds,
        late=late,
        faulty=faulty,
    )


def _name_of(handler: Any) -> str:
    """Return the name of a handler that is passed as an object, in the form of EVENT_HANDLER."""
    kind = handler if hasattr(handler, "__qualname__") else type(handler)
    module = getattr(kind, "__module__", type(kind).__module__)  # a generator has none
    return f"{module}:{kind.__qualname__}"


def _needs_lifetime(found: Any) -> bool:
    return routes_have_state(found) if isinstance(found, Routes) else has_state(found)


def _without_state(found: Any, name: str, settings: Mapping[str, str]) -> Any:
    """Return what is called for each event: a table of routes, or a function of one event."""
    if not isinstance(found, Routes):
        return with_parsed_body(found)
    table = RouteTable(found, name, settings)
    table.build()
    return table


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
            f"EVENT_HANDLER {spec!r}: {_import_text(module_name, error)}"
        ) from error
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise HandlerLoadError(f"EVENT_HANDLER {spec!r}: {missing_text(module, attribute)}")
    _check(found, f"EVENT_HANDLER {spec!r}")
    note_handler(module_name)
    return found


def _import_text(module_name: str, error: BaseException) -> str:
    """Return what an import has raised and where, and what to do if a module is missing."""
    text = f"{type_name(error)}: {describe(error)}"
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and f"{module_name}.".startswith(f"{missing}."):
        return (
            f"importing {module_name} failed: {text}; it takes a module beside function_app.py, "
            "or an installed module"
        )
    place = own_place(error)
    text = f"importing {module_name} failed{f' at {place}' if place else ''}: {text}"
    if missing:
        text += f"; {missing} must be beside function_app.py, or its package in requirements.txt"
    return text


def _check(found: Any, named: str) -> None:
    if isinstance(found, Routes):
        check_routes(found, named)
    else:
        check_handler(found, named)
