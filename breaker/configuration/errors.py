"""The errors of configuration.

ConfigurationError     a setting or a configuration file cannot be used
└── HostJsonError      host.json is malformed or has a value that is not accepted

`breaker`, `processing` and `console` derive their own settings errors from ConfigurationError.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigurationError(ValueError):
    """An invalid setting or file; the message has its name and the accepted values."""


class HostJsonError(ConfigurationError):
    """A host.json that is malformed or has a value that is not accepted."""


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.0) -> str | None:
    """Return the known name most like `name`, ignoring case; None below the similarity `cutoff`."""
    by_lower = {item.lower(): item for item in known}
    matches = get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[matches[0]] if matches else None
