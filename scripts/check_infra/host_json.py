"""The check of host.json: the local host's reader, and what this app needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.host_checks import delivery_problems
from breaker.configuration.host_json import read_host_json
from breaker.configuration.host_options import OPTIONS, Options
from breaker.configuration.json_file import read_json_file

_BUNDLE = "Microsoft.Azure.Functions.ExtensionBundle"
_USED: Options = {
    **dict.fromkeys(("version", "functionTimeout", "telemetryMode", "extensionBundle")),
    "extensions": {"eventHubs": None, "http": {"routePrefix": None}},
    "logging": {"fileLoggingMode": None, "logLevel": None},
}
"""The options that this app may use, with all options below a None; add others when needed."""


def host_json_problems(file: Path) -> Iterator[str]:
    """Yield one line per problem of the file."""
    try:
        host = read_host_json(file)
    except ConfigurationError as error:
        yield str(error)
        return
    yield from host.unknown
    yield from delivery_problems(host, file.name)
    for option in _unused(read_json_file(file), OPTIONS, _USED):
        yield f"{file.name}: this app does not use the option {option!r}; to use it, extend _USED"
    bundle = host.extension_bundle
    if bundle.get("id") != _BUNDLE or not bundle.get("version"):
        yield f"{file.name}: extensionBundle takes Microsoft's bundle and a version"
    if host.function_timeout is None:
        yield f"{file.name}: functionTimeout takes hh:mm:ss"
    elif host.function_timeout < timedelta(minutes=5):
        yield f"{file.name}: functionTimeout takes 5 minutes or more, to exceed a hold and a batch"


def _unused(
    found: Mapping[str, Any], published: Options, used: Options, where: str = ""
) -> Iterator[str]:
    """Yield the published options that are outside `used`, in any case, as in host.json."""
    known = {name.lower(): below for name, below in published.items()}
    accepted = {name.lower(): below for name, below in used.items()}
    for name, value in found.items():
        option = name.lower()
        if option in known and option not in accepted:
            yield where + name
        elif below := accepted.get(option):
            yield from _unused(value, known[option] or {}, below, f"{where}{name}.")
