"""The time until the next attempt, as clients and HTTP servers write it."""

from __future__ import annotations

import math
from datetime import UTC, timedelta
from decimal import Decimal

_LONGEST_TEXT = 100


def seconds_of(value: object, now: float) -> float | None:
    """Return a `retry_after` in seconds, possibly infinite, or None if no pause is known.

    A value that is not above 0 is no pause: a retry without a pause would be a hot loop. NaN and
    what exceeds a float become infinite. The caller cuts the pause to the time that is left.

    Args:
        value: a number of seconds, the same as text, an HTTP date, or a timedelta.
        now: seconds since 1970.

    Raises:
        ValueError: the value is something else.
    """
    seconds = _seconds(value, now)
    if math.isnan(seconds):
        return math.inf
    return seconds if seconds > 0 else None


def _seconds(value: object, now: float) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        return _seconds_of_text(value, now)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:  # an integer beyond all floats
            return math.inf if value > 0 else -math.inf
    raise ValueError("the value is not a number, a text or a timedelta")


def _seconds_of_text(text: str, now: float) -> float:
    if len(text) > _LONGEST_TEXT:
        raise ValueError("the text is too long")
    try:
        return float(text)
    except ValueError:
        return _seconds_until(text, now)


def _seconds_until(date: str, now: float) -> float:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - only an HTTP date needs it

    try:
        time = parsedate_to_datetime(date)
        if time.tzinfo is None:  # a date of the zone "-0000" is in UTC
            time = time.replace(tzinfo=UTC)
        return time.timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise ValueError("the text is not a number and not an HTTP date") from error
