"""The text about an attribute that a handler's module does not have."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from breaker.configuration.errors import nearest
from processing.handlers.routes import Routes

MOST_NAMES = 10
"""Most names that the text offers."""


def missing_text(module: ModuleType, attribute: str) -> str:
    """Return that a module has no such attribute, the nearest name, and what may be a handler."""
    near = nearest(attribute.strip(), [*vars(module)], cutoff=0.6)
    names = [name for name, found in vars(module).items() if _may_handle(name, found, module)]
    has = ", ".join(names[:MOST_NAMES]) or "no function or class of its own"
    if len(names) > MOST_NAMES:
        has += f" and {len(names) - MOST_NAMES} more"
    hint = f"; did you mean {near!r}?" if near else ""
    return f"{module.__name__} has no {attribute!r} (it has {has}){hint}"


def _may_handle(name: str, found: Any, module: ModuleType) -> bool:
    """Return whether a name is a function, a class or an object of this module, and no import."""
    if name.startswith("_"):
        return False
    if isinstance(found, Routes):
        return True
    return callable(found) and getattr(found, "__module__", None) == module.__name__
