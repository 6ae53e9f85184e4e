"""Notes of an instance about its events, which the next poll reports to the store.

Taking a note does no I/O. So an event that succeeds costs no command, and many failed attempts
cost one.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from breaker.keys import Key
from breaker.state import clip

REPORT_SECONDS = 1.0
"""Least time between two reports of outcomes by one instance."""
REPORTED_KEYS = 10
"""Greatest number of keys in one report of failed attempts."""
RUNNING_KEYS = 2
"""Greatest number of running keys in one report; the rules need only one other than a given key."""


@dataclass(frozen=True, slots=True)
class Report:
    """An instance's report about its events since its last report.

    The failed attempts are those since the instance's latest success. Outcomes are reported up to
    a second late, so the report has their ages, and the store computes their times.

    Attributes:
        report_id: a store counts the failed attempts of one id once.
        succeeded: whether an event succeeded.
        success_age: seconds since the latest success.
        longest_seconds: the longest time that a successful event took.
        failed_attempts: number of failed attempts.
        attempts_age: seconds since the first of the failed attempts.
        generation: the generation in which the attempts failed.
        keys: tokens of the attempts' keys, at most `REPORTED_KEYS`.
        error: the error of the last failed attempt.
        running: tokens of keys whose events run now, at most `RUNNING_KEYS`.
    """

    report_id: str
    succeeded: bool = False
    success_age: float = 0.0
    longest_seconds: float = 0.0
    failed_attempts: int = 0
    attempts_age: float = 0.0
    generation: int = 0
    keys: tuple[str, ...] = ()
    error: str = ""
    running: tuple[str, ...] = ()

    @property
    def ages_us(self) -> tuple[int, int, int]:
        """Age of the latest success, longest call and age of the first attempt, microseconds."""
        times = (self.success_age, self.longest_seconds, self.attempts_age)
        success, longest, attempts = (round(max(0.0, each) * 1_000_000) for each in times)
        return success, longest, attempts


class Notes:
    """The notes of one instance since its last report.

    Args:
        now: returns monotonic time in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._success_at = self._attempt_at = 0.0
        self._running: Counter[Key] = Counter()
        self._reported_at: float | None = None
        self._succeeded = False
        self._longest = 0.0
        self._attempts = 0
        self._generation = 0
        self._keys: dict[Key, None] = {}
        self._error = ""

    def enter(self, key: Key) -> None:
        """Note that events of a key run here."""
        self._running[key] += 1

    def leave(self, key: Key) -> None:
        """Note that one `enter` of a key has ended."""
        self._running[key] -= 1
        if self._running[key] <= 0:
            del self._running[key]

    def success(self, seconds: float) -> None:
        """Note an event that succeeded; earlier failed attempts do not count any more."""
        self._succeeded = True
        self._success_at = self._now()
        if seconds > self._longest:  # noqa: PLR1730 - runs for each event, and max() is slower
            self._longest = seconds
        if self._attempts:
            self._forget_attempts()

    def failed_attempt(self, key: Key, error: str, generation: int) -> None:
        """Note an attempt that failed in a generation of the closed circuit."""
        if generation != self._generation:
            self._forget_attempts()
            self._generation = generation
        if not self._attempts:
            self._attempt_at = self._now()
        self._attempts += 1
        self._error = error
        if len(self._keys) < REPORTED_KEYS:
            self._keys[key] = None

    def take(self) -> Report | None:
        """Return the report that is due, and remove its notes; None if nothing is due."""
        now = self._now()
        running = tuple(key.token for key in islice(self._running, RUNNING_KEYS))
        pausing = self._reported_at is not None and now - self._reported_at < REPORT_SECONDS
        if pausing or not (self._succeeded or self._attempts):
            return Report(secrets.token_hex(8), running=running) if running else None
        report = Report(
            secrets.token_hex(8),
            succeeded=self._succeeded,
            success_age=now - self._success_at if self._succeeded else 0.0,
            longest_seconds=self._longest,
            failed_attempts=self._attempts,
            attempts_age=now - self._attempt_at if self._attempts else 0.0,
            generation=self._generation,
            keys=tuple(key.token for key in self._keys),
            error=clip(self._error),
            running=running,
        )
        self._reported_at = now
        self._succeeded, self._longest = False, 0.0
        self._forget_attempts()
        return report

    def put_back(self, report: Report) -> None:
        """Note the success of a report again that no store has taken, for the next report.

        The failed attempts are dropped: while the store was away nobody knew what succeeded.
        """
        if report.succeeded:  # `_success_at` is still the time of the latest success
            self._succeeded = True
            self._longest = max(self._longest, report.longest_seconds)
            self._reported_at = None

    def _forget_attempts(self) -> None:
        self._attempts = 0
        self._keys.clear()
        self._error = ""
