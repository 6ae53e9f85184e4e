"""Errors before a host runs.

HostError            the user can fix the cause; the message says how (exit code 1)
+-- SettingsError    an app setting or a connection
+-- AppLoadError     function_app.py could not be loaded or indexed
+-- PortTakenError   another process listens on the HTTP port

The shared readers raise ConfigurationError for a settings file or host.json that cannot be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from breaker.configuration.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable


class HostError(Exception):
    """The host cannot start; the message names the wrong value and the accepted values."""


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
    """Return "; did you mean X?" when a known name is similar to `name`, else ""."""
    found = nearest(name, known, cutoff=0.75)
    return f"; did you mean {found!r}?" if found else ""
