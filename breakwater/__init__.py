"""The public face of Breakwater: the names that an app and its handlers import.

| name | use |
|---|---|
| `blueprint` | the functions that receive events, for an app that exists |
| `Event` | the argument of a handler |
| `Routes` | a handler for each type of event |
| `PoisonEventError` | raised by a handler: the event can never succeed |
| `DependencyUnavailableError` | raised by a handler: a dependency is down |
| `dependency` | the block around the calls that need a dependency |
| `Application` | the objects of one instance, for triggers that you declare yourself |

Each name is loaded at its first use, because each start of an instance imports this package.

Raises:
    ImportError: at the import, if Python finds another `breaker` or `processing` than the packages
        that are installed together with this one.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from breakwater._packages import check_packages

if TYPE_CHECKING:
    from breakwater.functions import blueprint
    from processing.bootstrap import Application
    from processing.dependencies import dependency
    from processing.errors import DependencyUnavailableError, PoisonEventError
    from processing.event import Event
    from processing.handlers.routes import Routes

__all__ = [
    "Application",
    "DependencyUnavailableError",
    "Event",
    "PoisonEventError",
    "Routes",
    "blueprint",
    "dependency",
]

check_packages()

_HOMES = {
    "Application": "processing.bootstrap",
    "DependencyUnavailableError": "processing.errors",
    "Event": "processing.event",
    "PoisonEventError": "processing.errors",
    "Routes": "processing.handlers.routes",
    "blueprint": "breakwater.functions",
    "dependency": "processing.dependencies",
}

if not TYPE_CHECKING:  # with __getattr__ in view, a type checker accepts every name

    def __getattr__(name: str) -> object:
        """Load a public name from its module."""
        module = _HOMES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(module), name)
        return found

    def __dir__() -> list[str]:
        """Return the public names too, for interactive use."""
        return sorted({*globals(), *__all__})
