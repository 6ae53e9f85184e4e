"""Checks of a handler before its first call, and the instance of a handler's class."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any

from processing.errors import HandlerLoadError, HandlerStartError
from processing.handlers.bodies import body_parser
from processing.handlers.parameters import parameters_of
from processing.handlers.shape import LIFETIME, fault_of
from processing.handlers.start_text import start_text


def check_handler(found: Any, named: str, *, lists: bool = True) -> None:
    """Refuse a handler whose call would fail or do nothing.

    Args:
        found: the handler.
        named: the handler's name, with which each error begins.
        lists: whether the handler may take a list of events.

    A type that pydantic cannot parse is refused as well. pydantic is not imported for that: the
    module of a model has imported it, and other types are seen when the handler is built.

    Raises:
        HandlerLoadError: the text begins with `named`, and says what is accepted.
    """
    if fault := fault_of(found, lists=lists):
        raise HandlerLoadError(f"{named} {fault}")
    is_class = inspect.isclass(found)
    call = inspect.getattr_static(found, "__call__", None) if is_class else found
    body = parameters_of(call, receiver=is_class).body
    if body is not None and "pydantic" in sys.modules:
        body_parser(body)


def has_state(found: Any) -> bool:
    """Return whether a handler is built or started before its first call."""
    if inspect.isclass(found):
        return True
    return not inspect.isfunction(found) and any(hasattr(found, each) for each in LIFETIME)


def instance_of(named: str, found: type, settings: Mapping[str, str], *, lists: bool = True) -> Any:
    """Return a new instance of a handler's class.

    Raises:
        HandlerLoadError: what was built cannot be called with an event.
        HandlerStartError: the construction failed.
    """
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
    check_handler(built, f"{named}: what {built_by} returned", lists=lists)
    return built
