"""Converters of host.json's values; the message of each ValueError is the accepted form."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from breaker.configuration.overrides import SettingText
from breaker.configuration.timespan import parse_timespan


def count(value: Any) -> int:
    """Return a whole number of at least 1."""
    if isinstance(value, SettingText) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number from 1")
    return value


def text(value: Any) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise ValueError("a string")
    return value


def span(value: Any) -> timedelta:
    """Return the time span of a text."""
    try:
        return parse_timespan(text(value))
    except ValueError:
        raise ValueError('a time span such as "00:00:30" (hh:mm:ss)') from None


def utc(value: Any) -> datetime:
    """Return the time of a text in UTC; a text without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(text(value))
    except ValueError:
        raise ValueError('an ISO 8601 time such as "2026-01-31T12:00:00Z"') from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def one_of[T: str](*accepted: T) -> Callable[[Any], T]:
    """Return a converter that accepts the given strings in any case."""

    def convert(value: Any) -> T:
        for item in accepted:
            if str(value).lower() == item.lower():
                return item
        raise ValueError(f"one of {', '.join(accepted)}")

    return convert
