"""Loading of handlers: from `module:attribute`, or from a function, a class or an object."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from processing.errors import HandlerLoadError, HandlerStartError
from processing.handlers.bodies import body_parser, with_parsed_body
from processing.handlers.lifetime import START_SECONDS, Lifetime
from processing.handlers.loaded import Handler, LoadedHandler
from processing.handlers.own_frames import note_handler
from processing.handlers.parameters import parameters_of
from processing.handlers.raised import describe, type_name
from processing.handlers.shape import ACCEPTED, LIFETIME, fault_of
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
    `start` and `aclose`, both without arguments. See `parameters_of` for the arguments of a call.

    Args:
        handler: `module:attribute`, or a function, a class or a callable object.
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
    if inspect.isclass(found) or _has_state(found):

        def build() -> Any:
            return _instance(named, found, settings) if inspect.isclass(found) else found

        # Without a time limit for calls, as under a debugger, the start has none, either.
        seconds = max(START_SECONDS, timeout_seconds) if timeout_seconds else 0
        lifetime = Lifetime(
            name, build, text=lambda error: start_text(error, settings), start_seconds=seconds
        )
    return LoadedHandler(
        name,
        None if lifetime is not None else with_parsed_body(found),
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


def _has_state(found: Any) -> bool:
    return not inspect.isfunction(found) and any(hasattr(found, each) for each in LIFETIME)


def _instance(named: str, found: type, settings: Mapping[str, str]) -> Any:
    factory = getattr(found, "from_settings", None)
    built_by = f"{found.__qualname__}.from_settings(settings)" if factory else found.__qualname__
    try:
        built = factory(settings) if factory else found()
    except (Exception, SystemExit) as error:
        raise HandlerStartError(
            f"{named}: {built_by} raised {start_text(error, settings)}"
        ) from error
    if inspect.iscoroutine(built):
        built.close()
    _check(built, f"{named}: what {built_by} returned")
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
    _check(found, f"EVENT_HANDLER {spec!r}")
    note_handler(module_name)
    return found


def _check(found: Any, named: str) -> None:
    """Refuse a handler whose call would fail or do nothing.

    A type that pydantic cannot parse is refused as well. pydantic is not imported for that: the
    module of a model has imported it, and other types are seen when the handler is built.
    """
    if fault := fault_of(found):
        raise HandlerLoadError(f"{named} {fault}; it takes {ACCEPTED}")
    is_class = inspect.isclass(found)
    call = inspect.getattr_static(found, "__call__", None) if is_class else found
    body = parameters_of(call, receiver=is_class).body
    if body is not None and "pydantic" in sys.modules:
        body_parser(body)
