"""NCRONTAB: the six-field schedules of timer triggers, seconds first. Pure.

Not croniter: it accepts what NCRONTAB refuses (`L`, `#`, `@daily`, ranges that run backwards),
refuses full names of months and days, and its errors name no field. cronsim, in addition, matches
a day by either of its two fields.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from breaker.configuration.timespan import parse_timespan

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {
    name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)
_HORIZON = timedelta(days=366 * 8 + 2)
"""A schedule that does not come within this time never does: 29 February is at most 8 years off."""


class Schedule(Protocol):
    """When a timer fires."""

    def after(self, moment: datetime) -> datetime:
        """Return the first occurrence strictly after `moment`."""


@dataclass(frozen=True)
class Constant:
    """Every `interval`, counted from the last occurrence."""

    interval: timedelta

    def after(self, moment: datetime) -> datetime:
        """Return `moment` plus the interval."""
        return moment + self.interval


@dataclass(frozen=True)
class Cron:
    """The moments at which all six fields match.

    Unlike in Unix cron, a day must match both the day and the day of the week, as in the NCrontab
    library.
    """

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def after(self, moment: datetime) -> datetime:
        """Return the first match strictly after `moment`.

        Raises:
            ValueError: the fields name a day that never comes, such as 30 February.
        """
        start = moment.replace(microsecond=0) + timedelta(seconds=1)
        day = start.replace(hour=0, minute=0, second=0)
        while day - start < _HORIZON:
            if self._has(day):
                floor = start if day.date() == start.date() else day
                if (found := self._time_on(floor)) is not None:
                    return found
            day += timedelta(days=1)
        raise ValueError("the schedule never comes")

    def _has(self, day: datetime) -> bool:
        return (
            day.month in self.months
            and day.day in self.days
            and day.isoweekday() % 7 in self.weekdays
        )

    def _time_on(self, floor: datetime) -> datetime | None:
        for hour in self.hours:
            if hour < floor.hour:
                continue
            for minute in self.minutes:
                if (hour, minute) < (floor.hour, floor.minute):
                    continue
                for second in self.seconds:
                    if (hour, minute, second) >= (floor.hour, floor.minute, floor.second):
                        return floor.replace(hour=hour, minute=minute, second=second)
        return None


def parse_schedule(text: str) -> Schedule:
    """Read a timer's schedule: six NCRONTAB fields (five: at second 0) or a time span.

    Raises:
        ValueError: neither, or a field out of range; says which.
    """
    fields = text.split()
    if len(fields) == 1 and ":" in text:
        interval = parse_timespan(text)
        if interval <= timedelta():
            raise ValueError(f"{text!r} is no interval; it must be above zero")
        return Constant(interval)
    if len(fields) == 5:
        fields.insert(0, "0")
    if len(fields) != 6:
        raise ValueError(
            f"{text!r} is no schedule; write six fields {{second}} {{minute}} {{hour}} {{day}} "
            "{month} {day of the week}, for example '0 */5 * * * *', or a time span such as "
            "00:05:00"
        )
    values = [_parse_field(field, *limits) for field, limits in zip(fields, _FIELDS, strict=True)]
    cron = Cron(
        tuple(sorted(values[0])),
        tuple(sorted(values[1])),
        tuple(sorted(values[2])),
        frozenset(values[3]),
        frozenset(values[4]),
        frozenset(values[5]),
    )
    try:
        cron.after(datetime(2000, 1, 1))
    except ValueError:
        raise ValueError(f"{text!r} names a day that never comes") from None
    return cron


def _parse_field(text: str, name: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    def number(part: str) -> int:
        found = names.get(part[:3].lower()) if not part.isdigit() else int(part)
        if name == "day of the week" and found == 7:
            found = 0
        if found is None or not low <= found <= high:
            raise ValueError(f"{part!r} is no {name}; it takes {low} to {high}")
        return found

    values: set[int] = set()
    for item in text.split(","):
        span, _, step_text = item.partition("/")
        if step_text and (not step_text.isdigit() or int(step_text) < 1):
            raise ValueError(f"{item!r} in {name}: the step takes a number from 1")
        step = int(step_text or 1)
        if span == "*":
            first, last = low, high
        elif "-" in span:
            start, _, end = span.partition("-")
            first, last = number(start), number(end)
            if first > last:
                raise ValueError(f"{item!r} in {name}: the range runs backwards")
        else:
            first = number(span)
            last = high if step_text else first
        values.update(range(first, last + 1, step))
    return values
