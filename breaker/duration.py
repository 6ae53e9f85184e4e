"""Lengths of time as an operator writes them: 90s, 30m, 2h, 1d, 1h30m."""

from __future__ import annotations

import re

LONGEST_SECONDS = 30 * 86_400
FORMS = "90s, 30m, 2h, 1d or 1h30m, from 1s to 30d"
"""The accepted forms, for messages."""

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_FORM = re.compile(r"(?:(\d{1,7})d)?(?:(\d{1,7})h)?(?:(\d{1,7})m)?(?:(\d{1,7})s)?", re.ASCII)


def parse_duration(text: str) -> int:
    """Return a length of time in seconds.

    Raises:
        ValueError: the text has another form, or the length is out of bounds.
    """
    found = _FORM.fullmatch(text.strip().lower())
    parts = found.groups(default="0") if found else ()
    seconds = sum(
        int(part) * size for part, size in zip(parts, _UNITS.values(), strict=bool(parts))
    )
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise ValueError(f"{text!r:.60} is not a length of time: it takes {FORMS}")
    return seconds


def format_duration(seconds: float) -> str:
    """Return a length of time in the form that `parse_duration` reads, in whole seconds."""
    left, parts = round(seconds), []
    for unit, size in _UNITS.items():
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
