"""What can go wrong before a host runs.

HostError            the user can mend it; the message says how (exit code 1)
+-- SettingsError    an app setting, a connection or a settings file
+-- HostJsonError    host.json
+-- AppLoadError     function_app.py could not be loaded or indexed
+-- PortTakenError   the HTTP port belongs to somebody else
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class HostError(Exception):
    """The host cannot start; the message names what is wrong and what would be accepted."""


class SettingsError(HostError):
    """An app setting is missing or unusable."""


class HostJsonError(HostError):
    """host.json is malformed or has a value that is not accepted."""


class AppLoadError(HostError):
    """The function app could not be loaded; `details` is the worker's traceback."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class PortTakenError(HostError):
    """Another process listens on the port."""


def near(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" when a known name looks like `name`, else nothing."""
    by_lower = {item.lower(): item for item in known}
    matches = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.75)
    return f"; did you mean {by_lower[matches[0]]!r}?" if matches else ""
