"""The options of host.json that decide how the partitions are watched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from breaker.configuration.errors import HostJsonError
from breaker.configuration.host_json import read_host_json
from breaker.configuration.host_options import EventHubsOptions
from breaker.configuration.lookup import bare, value_of

_PREFIX = "AzureFunctionsJobHost__extensions__eventHubs__"
"""Azure reads an app setting such as `AzureFunctionsJobHost__a__b` as the option `a.b`."""


def event_hubs_options(settings: Mapping[str, str]) -> EventHubsOptions | None:
    """Return the options of host.json; None if there is no readable file, as in the console."""
    path = Path(value_of(settings, "AzureWebJobsScriptRoot") or ".") / "host.json"
    try:
        return read_host_json(path).event_hubs
    except (FileNotFoundError, HostJsonError):
        return None


def replaced(settings: Mapping[str, str], option: str) -> str:
    """Return the value of the app setting that replaces an option of eventHubs, or ""."""
    wanted = (_PREFIX + option.replace(".", "__")).lower()
    for name, value in settings.items():
        if name.replace(":", "__").lower() == wanted:
            return bare(value)
    return ""


def batch_size(settings: Mapping[str, str]) -> int:
    """Return maxEventBatchSize."""
    if (value := replaced(settings, "maxEventBatchSize")).isdecimal():
        return int(value)
    return (event_hubs_options(settings) or EventHubsOptions()).max_event_batch_size


def reads_from_start(settings: Mapping[str, str]) -> bool:
    """Return whether a partition without a checkpoint is certainly read from its first event."""
    if value := replaced(settings, "initialOffsetOptions.type"):
        return value.lower() == "fromstart"
    options = event_hubs_options(settings)
    return options is not None and options.initial_offset == "fromStart"
