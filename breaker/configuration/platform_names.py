"""Names of environment variables that the platform sets."""

from __future__ import annotations

import re

_LINK = re.compile(
    r".+_(?:"
    r"SERVICE_HOST"
    r"|SERVICE_PORT(?:_.+)?"
    r"|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?"
    r")",
    re.IGNORECASE,
)


def is_platform_name(name: str) -> bool:
    """Return whether Kubernetes or App Service injects a variable of this name.

    A service named `breaker` or `console-api` in the same namespace gives every pod variables such
    as `BREAKER_SERVICE_HOST` and `CONSOLE_API_PORT_80_TCP_ADDR`. These are not mistyped settings.
    """
    return _LINK.fullmatch(name) is not None
