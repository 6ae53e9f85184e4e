"""The list of functions that a host logs when it starts."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from local.functions_host.triggers import event_grid

if TYPE_CHECKING:
    from local.functions_host.triggers.http.endpoints import Endpoint
    from local.functions_host.worker.functions import Function

_log = logging.getLogger("Host.Startup")


def print_functions(
    functions: Iterable[Function],
    disabled: Collection[str],
    endpoints: Iterable[Endpoint],
    base_url: str,
    route_prefix: str,
) -> None:
    """Log the functions as `func start` prints them; HTTP functions have methods and URL."""
    by_name = {endpoint.function.name: endpoint for endpoint in endpoints}
    lines = ["", "Functions:", ""]
    for function in sorted(functions, key=lambda item: item.name):
        if function.name in disabled:
            lines.append(f"\t{function.name}: {function.kind} (disabled)")
        elif endpoint := by_name.get(function.name):
            methods = ",".join(sorted(endpoint.methods)) or "ANY"
            path = "/".join(part for part in (route_prefix, endpoint.route.template) if part)
            lines.append(f"\t{function.name}: [{methods}] {base_url}/{path}")
        elif function.kind == "eventGridTrigger":
            url = f"{base_url}{event_grid.PATH}?functionName={function.name}"
            lines.append(f"\t{function.name}: {function.kind} {url}")
        else:
            lines.append(f"\t{function.name}: {function.kind}")
    _log.info("\n".join([*lines, ""]))
