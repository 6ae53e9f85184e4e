"""The app's host.json, with a log line for each option that the host ignores."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from breaker.configuration.host_json import read_host_json
from breaker.configuration.host_options import HostJson

_log = logging.getLogger("Host.Startup")


def load_host_json(path: Path, settings: Mapping[str, str] | None = None) -> HostJson:
    """Read and check a host.json; a missing file gives the defaults, as on Azure.

    App settings named `AzureFunctionsJobHost__…` replace options, as on Azure.

    Raises:
        HostJsonError: the file is not JSON, or an option has a value that is not accepted.
    """
    try:
        options = read_host_json(path, settings)
    except FileNotFoundError:
        _log.warning("no host.json in %s; every option has its default", path.parent)
        return HostJson()
    for line in options.unknown:
        _log.warning("%s", line)
    return options
