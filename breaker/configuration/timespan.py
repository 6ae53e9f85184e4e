"""The .NET TimeSpan notation that host.json and timer schedules use."""

from __future__ import annotations

import re
from datetime import timedelta

_PATTERN = re.compile(
    r"(?:(?P<days>\d+)\.)?(?P<hours>\d{1,2}):(?P<minutes>\d{1,2})"
    r"(?::(?P<seconds>\d{1,2})(?:\.(?P<fraction>\d{1,7}))?)?"
)


def parse_timespan(text: str) -> timedelta:
    """Read `[d.]hh:mm[:ss[.fffffff]]`.

    .NET reads `24:00:00` as 24 days, which few authors mean, so hours above 23 are refused.

    Raises:
        ValueError: the text has another form, or a field is out of range.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text!r} is not a time span; write [days.]hh:mm:ss, for example 00:05:00"
        )
    hours, minutes = int(match["hours"]), int(match["minutes"])
    seconds = int(match["seconds"] or 0)
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError(
            f"{text!r} has a field out of range; write [days.]hh:mm:ss with hours below 24, "
            "for example 1.00:00:00 for a day"
        )
    microseconds = int((match["fraction"] or "").ljust(6, "0")[:6] or 0)
    return timedelta(int(match["days"] or 0), seconds, microseconds, 0, minutes, hours)
