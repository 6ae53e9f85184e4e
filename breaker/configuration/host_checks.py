"""Checks of host.json against values with which an app loses events or handles them twice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from breaker.configuration.errors import HostJsonError
from breaker.configuration.host_json import read_host_json
from breaker.configuration.host_options import HostJson
from breaker.configuration.lookup import bare, value_of
from breaker.configuration.overrides import PREFIX

FIRST_BUNDLE = (4, 28, 0)
"""The first extension bundle with the Event Hubs extension 6."""

_FREQUENCY = "extensions.eventHubs.batchCheckpointFrequency"
_BUNDLE = "extensionBundle.version"
_OF_HOST = re.compile(
    r"(?:PIPELINE_[A-Z0-9]+_)?(?:EVENT_HUB_NAME|EVENT_HUB_CONSUMER_GROUP)|AzureFunctionsJobHost(?:__|:).+"
    r"|(?:EventHubConnection|AzureWebJobsStorage)(?:(?:__|:).+)?",
    re.IGNORECASE,
)
_CONNECTIONS_OF_HOST = frozenset({"eventhubconnection", "azurewebjobsstorage"})
_RANGE = re.compile(r"\s*[\[(]?\s*(\d+)(?:\.(\d+|\*))?(?:\.(\d+|\*))?\s*(?:[,\])].*)?")


def check_host_json(settings: Mapping[str, str]) -> None:
    """Refuse a host.json with which the app would lose events or handle them twice.

    The file is that of the folder `AzureWebJobsScriptRoot`, else of the current folder. A missing
    file has the defaults, which are accepted. App settings replace options, as on Azure.

    Raises:
        HostJsonError: the file cannot be read, or a value is not accepted.
    """
    path = Path(value_of(settings, "AzureWebJobsScriptRoot") or ".") / "host.json"
    try:
        host = read_host_json(path)
    except FileNotFoundError:
        host = HostJson()
    for problem in [*delivery_problems(host, path.name), *_override_problems(settings)]:
        raise HostJsonError(problem)


def padded_for_host(settings: Mapping[str, str]) -> Iterator[str]:
    """Yield the names of the settings that the Functions host reads with their blanks or quotes.

    The app ignores both. Azure's host takes both as parts of a value; around a connection string it
    ignores blanks, too.
    """
    for name, text in settings.items():
        if _OF_HOST.fullmatch(name):
            is_connection = name.lower() in _CONNECTIONS_OF_HOST
            if (text.strip() if is_connection else text) != bare(text):
                yield name


def delivery_problems(host: HostJson, source: str) -> Iterator[str]:
    """Yield one line for each option with which an app loses events or handles them twice.

    Args:
        host: the options.
        source: the name of the file, for the messages.
    """
    frequency = host.event_hubs.batch_checkpoint_frequency
    if frequency != 1:
        yield _frequency_problem(f"{source}: {_FREQUENCY}", frequency)
    version = host.extension_bundle.get("version")
    if version is not None and not _is_late_enough(version):
        yield _bundle_problem(f"{source}: {_BUNDLE}", version)


def _override_problems(settings: Mapping[str, str]) -> Iterator[str]:
    by_lower = {name.lower().replace(":", "__"): name for name in settings}

    def found(option: str) -> tuple[str, str]:
        name = by_lower.get((PREFIX + option.replace(".", "__")).lower(), "")
        return f"the app setting {name}", bare(settings.get(name, ""))

    where, frequency = found(_FREQUENCY)
    if frequency not in {"", "1"}:
        yield _frequency_problem(where, frequency)
    where, version = found(_BUNDLE)
    if version and not _is_late_enough(version):
        yield _bundle_problem(where, version)


def _frequency_problem(where: str, value: object) -> str:
    return (
        f"{where} is {json.dumps(value)}; it takes 1, because with a higher number the host writes "
        "a checkpoint only after several batches, so that finished events are delivered again, and "
        "skips the events of a failed batch when a partition closes"
    )


def _bundle_problem(where: str, value: object) -> str:
    first = ".".join(map(str, FIRST_BUNDLE))
    return (
        f"{where} is {json.dumps(value)}; it takes a range from {first} on, such as "
        f'"[{first}, 5.0.0)", because earlier bundles have the Event Hubs extension 5, which '
        "writes a checkpoint when the host stops and so skips unfinished events"
    )


def _is_late_enough(version: str) -> bool:
    match = _RANGE.fullmatch(version)
    if match is None:
        return False
    lowest = tuple(0 if part in (None, "*") else int(part) for part in match.groups())
    return lowest >= FIRST_BUNDLE
