"""The text of a failed start, without passwords: it goes to health, which anybody may read."""

from __future__ import annotations

import re
from collections.abc import Mapping

from processing.handlers.raised import describe, type_name

LEAST_SECRET = 6
"""Characters of the shortest setting that is searched; a shorter one is seldom a secret."""
_LEFT_OUT = "(…)"
_IN_ADDRESS = re.compile(r"://[^/?#\s]*@")
_NAMES = r"password|passwd|pwd|secret|token|key|signature|sig|credential"
_ASSIGNED = re.compile(rf"(?i)(\w*(?:{_NAMES})\w*\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s;&,'\"]+)")
_SECRET_NAME = re.compile(rf"(?i){_NAMES}|connection_?string|storage$|connection$")


def start_text(error: BaseException, settings: Mapping[str, str]) -> str:
    """Return the type and the text of an error of a handler's start.

    Left out are the user and the password of an address, what is assigned to a name such as
    `password` or `AccountKey`, and the values of settings whose names are those of secrets. What
    the handler has derived from a secret stays.
    """
    text = describe(error)
    secrets = {
        value
        for name, value in settings.items()
        if len(value) >= LEAST_SECRET and _SECRET_NAME.search(name)
    }
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, _LEFT_OUT)
    text = _IN_ADDRESS.sub(f"://{_LEFT_OUT}@", text)
    text = _ASSIGNED.sub(rf"\1{_LEFT_OUT}", text)
    return f"{type_name(error)}: {text}"
