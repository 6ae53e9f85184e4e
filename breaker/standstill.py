"""The standstill rule: the circuit opens although too few keys are in flight for the count rule.

The rule opens a closed circuit when, since the fleet's last success, enough attempts of at least
two keys have failed, the first of them at least one window ago, and no success came for the quiet
time. An event must run somewhere, because silence is no standstill. See
docs/adr/0019-standstill.md. `stores/scripts/standstill.lua` has the same rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from breaker.keys import count_of
from breaker.notes import Report
from breaker.state import Rules

STANDSTILL_KEYS = 10
"""Greatest number of keys that a store remembers of failed attempts."""
GAPS = 10
"""The quiet time in usual gaps between two successes."""
KNOWN_GAPS = 10
"""Number of gaps that tell the usual gap; the mean of fewer says little."""
CALLS = 2
"""The least quiet time in durations of the longest successful call."""
QUIET_MAX_US = 600_000_000
"""The longest quiet time that the gaps between successes can cause."""
PACE_US = 3_600_000_000
"""Time before the last success whose successes give the usual gap."""
MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Attempts:
    """The failed attempts since the fleet's last success, in one generation."""

    generation: int = 0
    count: int = 0
    first_us: int = 0
    keys: tuple[str, ...] = ()
    error: str = ""
    last_us: int = 0


@dataclass(frozen=True, slots=True)
class Minute:
    """The reports with a success of one minute: their number, times and longest call."""

    count: int
    first_us: int
    last_us: int
    longest_us: int


def with_failed(attempts: Attempts, report: Report, first_us: int, now_us: int) -> Attempts:
    """Return the attempts with those of a report; those of other generations are dropped.

    Args:
        attempts: the attempts so far.
        report: the report.
        first_us: time of the report's first attempt.
        now_us: time of the report.
    """
    if attempts.generation != report.generation or not attempts.count:
        attempts = Attempts(report.generation, first_us=first_us)
    first_us = min(attempts.first_us, first_us)
    known = tuple(dict.fromkeys((*attempts.keys, *report.keys)))[:STANDSTILL_KEYS]
    count = attempts.count + report.failed_attempts
    return Attempts(report.generation, count, first_us, known, report.error, now_us)


def with_success(minute: Minute | None, at_us: int, longest_us: int) -> Minute:
    """Return a minute with one more report of a success."""
    if minute is None:
        return Minute(1, at_us, at_us, longest_us)
    return Minute(
        minute.count + 1,
        min(minute.first_us, at_us),
        max(minute.last_us, at_us),
        max(minute.longest_us, longest_us),
    )


def quiet_us(minutes: Iterable[Minute], success_us: int, rules: Rules) -> int:
    """Return the time without a success that the rule requires, in microseconds.

    The quiet time is ten times the usual gap between successes, at most ten minutes; but at least
    the window, and at least twice the longest successful call. The usual gap is the mean of the
    gaps in the hour before the last success. While they are fewer than ten, one more gap, as long
    as the window, counts among them.
    """
    counted = [each for each in minutes if success_us - PACE_US <= each.first_us <= success_us]
    gaps = max(1, sum(each.count for each in counted)) - 1
    first = min((each.first_us for each in counted), default=0)
    span_us = max((each.last_us for each in counted), default=0) - first
    if gaps < KNOWN_GAPS:
        span_us, gaps = span_us + rules.window_us, gaps + 1
    gaps_us = GAPS * span_us // gaps
    longest_us = max((each.longest_us for each in counted), default=0)
    return max(rules.window_us, min(gaps_us, QUIET_MAX_US), CALLS * longest_us)


def standstill(
    attempts: Attempts,
    minutes: Iterable[Minute],
    success_us: int,
    *,
    running: Collection[str],
    rules: Rules,
    now_us: int,
) -> str | None:
    """Return the reason to open a closed circuit; None to stay closed.

    Args:
        attempts: the failed attempts since the last success.
        minutes: the reports of successes.
        success_us: time of the last success; 0: unknown.
        running: tokens of the keys whose events run anywhere.
        rules: the circuit's rules.
        now_us: the store's time.
    """
    enough = 0 < rules.standstill_failures <= attempts.count
    if not enough or not success_us or now_us - attempts.first_us < rules.window_us:
        return None
    if not running or now_us - attempts.last_us > rules.window_us:  # silence is no standstill
        return None
    if count_of(attempts.keys) < 2 and set(running) - set(attempts.keys):
        return None
    if now_us - success_us < quiet_us(minutes, success_us, rules):
        return None
    last = f"; last error: {attempts.error}" if attempts.error else ""
    return (
        f"no event has succeeded for {(now_us - success_us) // 1_000_000} s; "
        f"{attempts.count} attempts of {_keys(len(attempts.keys))} failed{last}"
    )


def _keys(number: int) -> str:
    if number >= STANDSTILL_KEYS:
        return f"at least {STANDSTILL_KEYS} keys"
    return f"{number} key{'' if number == 1 else 's'}"
