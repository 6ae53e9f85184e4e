"""Retry policies of HTTP actions.

Source: "Handle errors and exceptions in Azure Logic Apps", section Retry policies,
learn.microsoft.com/azure/logic-apps/error-exception-handling. A request is sent again after status
408, 429 or 5xx, and after a connection error (learn.microsoft.com/azure/logic-apps/
logic-apps-workflow-actions-triggers, HTTP action: "and any connectivity exceptions"). Other 4xx,
also 409, are final. An action without a policy has the default policy: up to 4 retries, 7.5 s
scaled exponentially, between 5 and 45 s. The page's JSON example of the default policy has PT7S and
PT1H instead; the text is followed here.

tenacity is not used, because a run continues after a restart and computes the wait from the stored
number of attempts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local.workflow.definition.durations import seconds
from local.workflow.definition.problems import DefinitionError

_RETRIED = frozenset({408, 429})
_MOST_RETRIES = 90
_LEAST_SECONDS = 5.0
_MOST_SECONDS = 86_400.0
_OPTIONS = {
    "none": frozenset[str](),
    "fixed": frozenset({"count", "interval"}),
    "exponential": frozenset({"count", "interval", "minimumInterval", "maximumInterval"}),
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A retry policy.

    Attributes:
        count: the most retries.
        interval: the wait of a fixed policy; the unit of growth of an exponential policy.
        minimum: the shortest wait of an exponential policy.
        maximum: the longest wait of an exponential policy.
        grows: whether the policy is exponential.
    """

    count: int = 4
    interval: float = 7.5
    minimum: float = _LEAST_SECONDS
    maximum: float = 45.0
    grows: bool = True

    def wait_after(self, attempts: int, pick: Callable[[float, float], float]) -> float | None:
        """Return the seconds until the next attempt; None after the last retry.

        Args:
            attempts: the attempts so far, at least 1.
            pick: returns a number between two bounds; the service picks at random.
        """
        if attempts > self.count:
            return None
        if not self.grows:
            return self.interval
        high = min(self.interval * 2.0 ** (attempts - 1), self.maximum)
        low = max(self.interval * 2.0 ** (attempts - 2) if attempts > 1 else 0.0, self.minimum)
        return pick(min(low, high), high)


def is_retried(status: int) -> bool:
    """Return whether a request is sent again after this HTTP status."""
    return status in _RETRIED or status >= 500


def load_policy(given: dict[str, Any] | None) -> RetryPolicy:
    """Build the policy of an action's `retryPolicy`; None means the default policy.

    Raises:
        DefinitionError: a type, an option or a bound that the service refuses.
    """
    if given is None or given.get("type") == "default":
        return RetryPolicy()
    kind = given.get("type")
    if kind not in _OPTIONS:
        raise DefinitionError(f"the retry policy {kind!r} is not one of {', '.join(_OPTIONS)}")
    if unknown := given.keys() - _OPTIONS[kind] - {"type"}:
        raise DefinitionError(f"the retry policy {kind} has no option {', '.join(sorted(unknown))}")
    if kind == "none":
        return RetryPolicy(count=0)
    count = given.get("count")
    if not isinstance(count, int) or not 1 <= count <= _MOST_RETRIES:
        raise DefinitionError(f"count of a retry policy is {count!r}; it takes 1 to 90")
    interval = _interval(given, "interval", None)
    if kind == "fixed":
        return RetryPolicy(count, interval, grows=False)
    return RetryPolicy(
        count,
        interval,
        _interval(given, "minimumInterval", _LEAST_SECONDS),
        _interval(given, "maximumInterval", _MOST_SECONDS),
    )


def _interval(given: dict[str, Any], name: str, default: float | None) -> float:
    if name not in given and default is not None:
        return default
    value = seconds(given.get(name))
    if not _LEAST_SECONDS <= value <= _MOST_SECONDS:
        raise DefinitionError(f"{name} of a retry policy is {given[name]}; it takes PT5S to P1D")
    return value
