"""Retry policies: the number of retries and their delays, without a clock or a sleep.

tenacity does not fit: between two attempts the host counts the retry as outstanding and may be
drained.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from local.functions_host.errors import AppLoadError

FOREVER = -1
_DEFAULT_MINIMUM = timedelta(seconds=2)
"""The minimum interval of an exponential policy that names none."""


@dataclass(frozen=True)
class RetryPolicy:
    """A function's retry policy.

    `max_retry_count` is the number of retries after the first attempt; -1 means no limit.
    """

    strategy: Literal["fixed_delay", "exponential_backoff"]
    max_retry_count: int
    delay: timedelta = timedelta()
    minimum: timedelta = timedelta()
    maximum: timedelta = timedelta()

    def allows(self, retry_count: int) -> bool:
        """Return whether retry number `retry_count` (the first is 1) may run."""
        return self.max_retry_count == FOREVER or retry_count <= self.max_retry_count

    def delay_seconds(self, retry_count: int) -> float:
        """Return the delay in seconds before retry number `retry_count` (the first is 1)."""
        if self.strategy == "fixed_delay":
            return self.delay.total_seconds()
        low, high = self.minimum.total_seconds(), self.maximum.total_seconds()
        # The exponent is bounded, because unlimited retries would overflow a float.
        return min(high, low * 2.0 ** min(retry_count - 1, 64))

    @classmethod
    def from_options(cls, function: str, options: object) -> RetryPolicy | None:
        """Build from the worker's RpcRetryOptions; None stays None.

        Raises:
            AppLoadError: the host does not accept the strategy, the count or an interval.
        """
        if options is None:
            return None
        strategy = getattr(options, "retry_strategy", None)
        count = int(getattr(options, "max_retry_count", 0))
        if strategy not in ("fixed_delay", "exponential_backoff"):
            raise AppLoadError(
                f"function {function!r}: retry strategy is {strategy!r}; "
                "it takes fixed_delay or exponential_backoff"
            )
        if count < FOREVER:
            raise AppLoadError(
                f"function {function!r}: max_retry_count is {count}; "
                "it takes a number from 0, or -1 for no limit"
            )
        if strategy == "fixed_delay":
            return cls("fixed_delay", count, delay=options.delay_interval)  # type: ignore[attr-defined]
        minimum = options.minimum_interval or _DEFAULT_MINIMUM  # type: ignore[attr-defined]
        maximum = options.maximum_interval  # type: ignore[attr-defined]
        if minimum > maximum:
            raise AppLoadError(
                f"function {function!r}: retry minimum_interval {minimum} is above "
                f"maximum_interval {maximum}"
            )
        return cls("exponential_backoff", count, minimum=minimum, maximum=maximum)
