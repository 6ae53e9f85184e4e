"""host.json against the option names that Azure Functions publishes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

type Options = Mapping[str, "Options | None"]

_OFFSET: Options = {"type": None, "enqueuedTimeUtc": None}
_EVENT_HUBS: Options = {
    "batchCheckpointFrequency": None,
    "clientRetryOptions": {
        "mode": None,
        "tryTimeout": None,
        "delay": None,
        "maximumDelay": None,
        "maximumRetries": None,
    },
    "enableCheckpointing": None,
    "initialOffsetOptions": _OFFSET,
    "maxEventBatchSize": None,
    "maxWaitTime": None,
    "minEventBatchSize": None,
    "prefetchCount": None,
    "targetUnprocessedEventThreshold": None,
    "transportType": None,
    "webProxy": None,
}
OPTIONS: Options = {
    "version": None,
    "functionTimeout": None,
    "telemetryMode": None,
    "extensionBundle": {"id": None, "version": None},
    "extensions": {"eventHubs": _EVENT_HUBS, "http": {"routePrefix": None}},
    "logging": {"fileLoggingMode": None, "logLevel": {"*": None}},
}
"""The options that this app may use; `*` stands for any name. Others are added when needed."""


def host_json_problems(file: Path) -> Iterator[str]:
    """Everything that is wrong with the file, one line each."""
    document = json.loads(file.read_text())
    yield from _unknown(document, OPTIONS, file.name)
    if document.get("version") != "2.0":
        yield f"{file.name}: version takes 2.0"
    bundle = document.get("extensionBundle", {})
    if bundle.get("id") != "Microsoft.Azure.Functions.ExtensionBundle" or not bundle.get("version"):
        yield f"{file.name}: extensionBundle takes Microsoft's bundle and a version"
    try:
        hours, minutes, seconds = map(int, document["functionTimeout"].split(":"))
        timeout = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except (KeyError, ValueError, AttributeError):
        yield f"{file.name}: functionTimeout takes hh:mm:ss"
    else:
        if timeout < timedelta(minutes=5):
            yield f"{file.name}: functionTimeout must outlast a hold and a batch: 5 minutes or more"


def _unknown(found: Mapping[str, Any], known: Options, where: str) -> Iterator[str]:
    for name, value in found.items():
        below = known.get(name, known.get("*", "unknown"))
        if below == "unknown":
            yield f"{where}: there is no option {name}"
        elif isinstance(below, Mapping):
            if isinstance(value, dict):
                yield from _unknown(value, below, f"{where}.{name}")
            else:
                yield f"{where}.{name} takes an object"
