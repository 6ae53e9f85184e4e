"""What can go wrong before a host runs.

HostError            the user can mend it; the message says how (exit code 1)
+-- SettingsError    an app setting or a connection
+-- AppLoadError     function_app.py could not be loaded or indexed
+-- PortTakenError   the HTTP port belongs to somebody else

A settings file or host.json that cannot be used raises ConfigurationError of the shared readers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from breaker.configuration.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable


class HostError(Exception):
    """The host cannot start; the message names what is wrong and what would be accepted."""


class SettingsError(HostError, ConfigurationError):
    """An app setting is missing or unusable."""


class AppLoadError(HostError):
    """The function app could not be loaded; `details` is the worker's traceback."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class PortTakenError(HostError):
    """Another process listens on the port."""


def near(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" when a known name looks like `name`, else nothing."""
    found = nearest(name, known, cutoff=0.75)
    return f"; did you mean {found!r}?" if found else ""
