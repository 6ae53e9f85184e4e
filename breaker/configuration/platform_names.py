"""Names of environment variables that the platform sets."""

from __future__ import annotations

import re

_LINK = re.compile(
    r".+_(?:"
    r"SERVICE_HOST"
    r"|SERVICE_PORT(?:_.+)?"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?"
    r")",
    re.IGNORECASE,
)
_PORT = re.compile(r".+_PORT", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://\S+", re.IGNORECASE)


def is_platform_name(name: str, value: str) -> bool:
    """Return whether Kubernetes or App Service injects a variable of this name.

    A service named `breaker` or `console-api` in the same namespace gives every pod variables such
    as `BREAKER_SERVICE_HOST` and `CONSOLE_API_PORT_80_TCP_ADDR`. These are not mistyped settings.
    `CONSOLE_PORT` is one only with an address such as `tcp://10.0.0.1:80`: an operator who sets it
    to a number means a setting.
    """
    if _PORT.fullmatch(name) and not _LINK.fullmatch(name):
        return _ADDRESS.fullmatch(value.strip()) is not None
    return _LINK.fullmatch(name) is not None
