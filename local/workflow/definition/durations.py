"""Durations in ISO 8601, such as PT7S or P30D."""

from __future__ import annotations

from datetime import timedelta

import isodate

from local.workflow.definition.problems import DefinitionError


def seconds(value: object) -> float:
    """Return the seconds of a duration without months and years, whose lengths vary.

    Raises:
        DefinitionError: the value is not such a duration.
    """
    try:
        duration = isodate.parse_duration(value)
    except (isodate.ISO8601Error, TypeError):
        duration = None
    if not isinstance(duration, timedelta) or duration < timedelta(0):
        raise DefinitionError(f"{value!r} is not a duration such as PT7S or P30D")
    return duration.total_seconds()
