"""The check of host.json: the local host's reader, and what this app needs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.host_checks import delivery_problems
from breaker.configuration.host_json import read_host_json

_BUNDLE = "Microsoft.Azure.Functions.ExtensionBundle"


def host_json_problems(file: Path) -> Iterator[str]:
    """Yield one line per problem of the file."""
    try:
        host = read_host_json(file)
    except ConfigurationError as error:
        yield str(error)
        return
    yield from host.unknown
    yield from delivery_problems(host, file.name)
    bundle = host.extension_bundle
    if bundle.get("id") != _BUNDLE or not bundle.get("version"):
        yield f"{file.name}: extensionBundle takes Microsoft's bundle and a version"
    if host.function_timeout is None:
        yield f"{file.name}: functionTimeout takes hh:mm:ss"
    elif host.function_timeout < timedelta(minutes=5):
        yield f"{file.name}: functionTimeout takes 5 minutes or more, to exceed a hold and a batch"
