"""NCRONTAB, the six-field schedules of timer triggers with seconds first.

croniter does not fit: it accepts text that NCRONTAB rejects (`L`, `#`, `@daily`, ranges that run
backwards), rejects full names of months and days, and its errors name no field. cronsim has the
same problems and matches a day by either of its two fields.
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
"""The search limit: the longest gap is 8 years, between two days of 29 February."""


class Schedule(Protocol):
    """The times at which a timer fires."""

    def after(self, moment: datetime) -> datetime:
        """Return the first occurrence strictly after `moment`."""


@dataclass(frozen=True)
class Constant:
    """A schedule with a constant interval, counted from the last occurrence."""

    interval: timedelta

    def after(self, moment: datetime) -> datetime:
        """Return `moment` plus the interval."""
        return moment + self.interval


@dataclass(frozen=True)
class Cron:
    """A schedule of the moments at which all six fields match.

    A day must match both the day and the day of the week, as in the NCrontab library and unlike in
    Unix cron.
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
            ValueError: the fields name a day that does not exist, such as 30 February.
        """
        start = moment.replace(microsecond=0) + timedelta(seconds=1)
        day = start.replace(hour=0, minute=0, second=0)
        while day - start < _HORIZON:
            if self._matches(day):
                floor = start if day.date() == start.date() else day
                if (found := self._time_on(floor)) is not None:
                    return found
            day += timedelta(days=1)
        raise ValueError("the schedule has no occurrence within 8 years")

    def _matches(self, day: datetime) -> bool:
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
    """Parse a timer's schedule: six NCRONTAB fields (five: at second 0) or a time span.

    Raises:
        ValueError: the text is neither, or a field is out of range; the message names the field.
    """
    fields = text.split()
    if len(fields) == 1 and ":" in text:
        interval = parse_timespan(text)
        if interval <= timedelta():
            raise ValueError(f"{text!r} is not an interval; it takes a time span above zero")
        return Constant(interval)
    if len(fields) == 5:
        fields.insert(0, "0")
    if len(fields) != 6:
        raise ValueError(
            f"{text!r} is not a schedule; write six fields {{second}} {{minute}} {{hour}} {{day}} "
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
        raise ValueError(f"{text!r} names a day that does not exist") from None
    return cron


def _parse_field(text: str, name: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    def number(part: str) -> int:
        found = names.get(part[:3].lower()) if not part.isdigit() else int(part)
        if name == "day of the week" and found == 7:
            found = 0
        if found is None or not low <= found <= high:
            raise ValueError(f"{part!r} is not a {name}; it takes {low} to {high}")
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
