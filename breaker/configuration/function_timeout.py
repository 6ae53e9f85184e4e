"""The host's time limit of one invocation: functionTimeout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from breaker.configuration.errors import HostJsonError
from breaker.configuration.host_json import read_host_json
from breaker.configuration.lookup import value_of
from breaker.configuration.overrides import overrides

DEFAULT_SECONDS = 30 * 60.0
"""The platform's default; also used for an unlimited invocation, so that each batch ends."""


@dataclass(frozen=True, slots=True)
class FunctionTimeout:
    """The time limit of one invocation.

    Attributes:
        seconds: the limit.
        where: what sets the limit, for messages: the app setting, the file, or the default.
    """

    seconds: float = DEFAULT_SECONDS
    where: str = "functionTimeout (not set)"


def read_function_timeout(settings: Mapping[str, str]) -> FunctionTimeout:
    """Return the limit of `AzureFunctionsJobHost__functionTimeout`, else of host.json.

    Without both, and for -1 (no limit), the limit is `DEFAULT_SECONDS`. The file is that of the
    folder `AzureWebJobsScriptRoot`, else of the current folder.

    Raises:
        HostJsonError: the file cannot be read, or a value is not accepted.
    """
    path = Path(value_of(settings, "AzureWebJobsScriptRoot") or ".") / "host.json"
    where = f"functionTimeout in {path.name}"
    for name, value in overrides(settings):
        if [part.lower() for part in name] == ["functiontimeout"]:
            where = f"the app setting {value.setting}"
    try:
        host = read_host_json(path, settings)
    except FileNotFoundError:
        return FunctionTimeout()
    if host.function_timeout is None:
        return FunctionTimeout()
    seconds = host.function_timeout.total_seconds()
    if seconds <= 0:
        raise HostJsonError(f'{where} is 0; it takes a time span above 0, such as "00:10:00"')
    return FunctionTimeout(seconds, where)
