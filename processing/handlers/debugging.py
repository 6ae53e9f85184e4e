"""Debugging: time limits are off, and handlers may call `breakpoint()`.

`breakwater host --debug` sets the environment variable BREAKWATER_DEBUG to 1.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from breaker.configuration.lookup import value_of
from processing.errors import SettingsError
from processing.settings import ProcessingSettings

VARIABLE = "BREAKWATER_DEBUG"
DEBUG_SECONDS = 24 * 3600.0
"""The time of one invocation while debugging."""
_ON_AZURE = "WEBSITE_INSTANCE_ID"
_LONGEST_LEASE = 3600.0
_MOST_CRASHES = 10


def is_debugging(settings: Mapping[str, str]) -> bool:
    """Return whether time limits are off and `breakpoint()` works.

    Raises:
        SettingsError: the variable has a wrong value, or the app runs on Azure.
    """
    value = value_of(settings, VARIABLE) or value_of(os.environ, VARIABLE)
    if value not in {"", "0", "1"}:
        raise SettingsError(f"{VARIABLE} is {value!r:.100}; it takes 1 (on) or 0 (off)")
    if value != "1":
        return False
    if value_of(settings, _ON_AZURE) or value_of(os.environ, _ON_AZURE):
        raise SettingsError(
            f"{VARIABLE} is 1 on Azure, where no debugger can attach and events need their time "
            "limits; remove it from the app settings, and debug with `breakwater host --debug`"
        )
    return True


def processing_settings(settings: Mapping[str, str]) -> ProcessingSettings:
    """Return the settings of processing; while debugging without their time limits.

    A handler that stands at a breakpoint must not be cancelled, its process must not be ended by
    the watchdog, and its key must not be replayed elsewhere.

    Raises:
        SettingsError: a setting is unknown or out of bounds; see also `is_debugging`.
    """
    processing = ProcessingSettings.from_mapping(settings)
    if not is_debugging(settings):
        return processing
    return replace(
        processing,
        handler_timeout_seconds=0.0,
        watchdog_seconds=0.0,
        replay_lease_seconds=_LONGEST_LEASE,
        careful_after=_MOST_CRASHES,
    )
