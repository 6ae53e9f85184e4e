"""The file local.settings.json in the form of Azure Functions Core Tools, and its settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.local_settings import read_local_settings
from local.files import write_json

HUB = "events"
POISON_QUEUE = "poison"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*")
_HANDLER_OF_PIPELINE = re.compile(r"PIPELINE_.+_EVENT_HANDLER", re.IGNORECASE)

APP_DEFAULTS: Mapping[str, str] = {
    "FUNCTIONS_WORKER_RUNTIME": "python",
    "EVENT_HUB_NAME": HUB,
    "EVENT_HUB_CONSUMER_GROUP": "$Default",
    "POISON_QUEUE": POISON_QUEUE,
    "EVENT_HANDLER": "processing.handlers.ledger:LedgerHandler",
    "BREAKER_NAME": "breakwater",
    "BREAKER_FAILURE_THRESHOLD": "100",
    "BREAKER_WINDOW_SECONDS": "30",
    "PROCESSING_MAX_LANES": "128",
    "PROCESSING_MAX_ATTEMPTS": "4",
    "PROCESSING_HOLD_SECONDS": "60",
}
"""Settings that do not depend on the stack's ports."""


class SettingError(ValueError):
    """An error for a `--set` value that is not NAME=VALUE."""


def app_settings(
    *,
    storage: str,
    event_hub: str,
    redis_url: str,
    topic_endpoint: str,
    topic_key: str,
    function_app_url: str = "",
    console_url: str = "",
    app_storage: str = "",
    overrides: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the function app's settings; `overrides` replace defaults and may add names.

    Without `app_storage` the app has one storage account. With a handler of one pipeline the sample
    handler is not the default of the others.
    """
    defaults = dict(APP_DEFAULTS)
    if any(_HANDLER_OF_PIPELINE.fullmatch(name) for name in overrides or {}):
        del defaults["EVENT_HANDLER"]
    return {
        **defaults,
        "AzureWebJobsStorage": storage,
        "BreakwaterStorage": app_storage,
        "EventHubConnection": event_hub,
        "REDIS_URL": redis_url,
        "EVENT_GRID_TOPIC_ENDPOINT": topic_endpoint,
        "EVENT_GRID_TOPIC_KEY": topic_key,
        "FUNCTION_APP_URL": function_app_url,
        "BREAKER_CONSOLE_URL": console_url,
        **(overrides or {}),
    }


def parse_settings(assignments: Iterable[str]) -> dict[str, str]:
    """Parse NAME=VALUE assignments; the last value of a name wins, and a value may be empty.

    Raises:
        SettingError: an assignment does not have that form.
    """
    settings = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise SettingError(f"--set takes NAME=VALUE, not {assignment!r}")
        settings[name] = value
    return settings


def write_settings_file(path: Path, values: Mapping[str, str]) -> Path | None:
    """Write `values` to `path`, readable by the file's owner only.

    An existing file that does not point at a local stack was written by the user. The file is
    renamed to `local.settings.backup.json`, and the new path is returned.
    """
    backup = None
    if path.exists() and not _points_at_local_stack(path):
        backup = path.with_suffix(".backup.json")
        path.replace(backup)
    write_json(path, {"IsEncrypted": False, "Values": dict(values)})
    return backup


def _points_at_local_stack(path: Path) -> bool:
    try:
        values = read_local_settings(path)
    except ConfigurationError:
        return False
    return "UseDevelopmentEmulator=true" in values.get("EventHubConnection", "")
