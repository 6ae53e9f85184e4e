"""The time budget of one invocation, and the settings that must fit into it.

The platform ends an invocation that exceeds functionTimeout together with its whole process. So no
attempt starts in the last part of that time, and the batch runs again for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from breaker.configuration.function_timeout import FunctionTimeout, read_function_timeout
from processing.errors import SettingsError
from processing.handlers.debugging import DEBUG_SECONDS, VARIABLE, is_debugging
from processing.settings import ProcessingSettings

START_SHARE = 0.8
"""Share of functionTimeout in which attempts start."""
WRITE_SHARE = 0.98
"""Share of functionTimeout after which no write is repeated."""
RECORD_SHARE = 0.05
"""Share of functionTimeout that is kept for writes after the end of the last call."""
TIMER_SECONDS = 4.0
"""Longest time for which one run of the timer starts replays; the timer's pause is longer."""
LATE = 1.1
"""A call ends at most a tenth of its time limit late."""


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """The time budget of each invocation, in seconds from the beginning of the invocation.

    Attributes:
        timeout: the platform's limit.
        start_seconds: time after which no attempt starts.
        write_seconds: time after which no write is repeated.
    """

    timeout: FunctionTimeout
    start_seconds: float
    write_seconds: float

    @property
    def timer_seconds(self) -> float:
        """The time for which one run of the timer starts replays."""
        return min(TIMER_SECONDS, self.start_seconds)

    @classmethod
    def of(cls, timeout: FunctionTimeout, handler_timeout_seconds: float) -> Self:
        """Return the budget.

        Attempts end earlier than at `START_SHARE` if the last call would not leave time for its
        outcome to be written.
        """
        last = timeout.seconds * (1 - RECORD_SHARE) - LATE * handler_timeout_seconds
        start = max(0.0, min(START_SHARE * timeout.seconds, last))
        return cls(timeout, start, WRITE_SHARE * timeout.seconds)

    @classmethod
    def from_mapping(cls, settings: Mapping[str, str], processing: ProcessingSettings) -> Self:
        """Return the budget of the app settings and of host.json.

        Raises:
            SettingsError: a setting does not fit into the budget; the message names both.
            HostJsonError: functionTimeout is not accepted, or host.json cannot be read.
        """
        if is_debugging(settings):
            return cls.of(FunctionTimeout(DEBUG_SECONDS, VARIABLE), 0)
        timeout = read_function_timeout(settings)
        check_fit(processing, timeout)
        return cls.of(timeout, processing.handler_timeout_seconds)


DEFAULT_BUDGET = TimeBudget.of(FunctionTimeout(), ProcessingSettings().handler_timeout_seconds)
"""The budget with the platform's default limit."""


def check_fit(processing: ProcessingSettings, timeout: FunctionTimeout) -> None:
    """Refuse settings with which an invocation could exceed functionTimeout.

    Raises:
        SettingsError: a setting does not fit; the message names the setting and functionTimeout.
    """
    started = START_SHARE * timeout.seconds
    rest = timeout.seconds - started
    limit = f"{timeout.where} is {timeout.seconds:g} s"
    if processing.handler_timeout_seconds == 0:
        raise SettingsError(
            f"PROCESSING_HANDLER_TIMEOUT_SECONDS is 0 (no limit), but {limit}: a call without a "
            f"limit would end the whole instance; it takes a number above 0, at most {rest:g}"
        )
    for name, value, most, why in (
        ("HANDLER_TIMEOUT", processing.handler_timeout_seconds, rest, _LAST_FIFTH),
        ("HOLD", processing.hold_seconds, rest, _LAST_FIFTH),
        ("RETRY_INITIAL", processing.retry_initial_seconds, started, _ATTEMPTS),
        ("RETRY_MAX", processing.retry_max_seconds, started, _ATTEMPTS),
        ("DEPENDENCY_PAUSE", processing.dependency_pause_seconds, started, _ATTEMPTS),
    ):
        if value > most:
            raise SettingsError(
                f"PROCESSING_{name}_SECONDS is {value:g}, but {limit}: {why}; it takes at most "
                f"{most:g}, or raise functionTimeout"
            )
    if (pauses := _pauses(processing)) > started:
        raise SettingsError(
            f"PROCESSING_MAX_ATTEMPTS ({processing.max_attempts}), "
            f"PROCESSING_RETRY_INITIAL_SECONDS ({processing.retry_initial_seconds:g}) and "
            f"PROCESSING_RETRY_MAX_SECONDS ({processing.retry_max_seconds:g}) add up to pauses of "
            f"{pauses:.0f} s, but {limit}: an event would never use up its attempts; together they "
            f"take at most {started:g} s"
        )


_LAST_FIFTH = "no attempt starts in the last fifth of it, which the setting must fit into"
_ATTEMPTS = "attempts start in the first four fifths of it, which a pause must fit into"


def _pauses(processing: ProcessingSettings) -> float:
    """Return the longest time of all pauses between one event's attempts."""
    initial, most = processing.retry_initial_seconds, processing.retry_max_seconds
    total = 0.0
    for attempt in range(processing.max_attempts - 1):
        total += min(most, initial * 2.0 ** min(attempt, 60) + initial)  # with the most jitter
    return total
