"""A publisher that keeps its alerts in memory, for tests and experiments."""

from __future__ import annotations

from breaker.alerts.base import Alert


class MemoryPublisher:
    """A publisher that appends alerts to a list, or fails on demand.

    Attributes:
        published: all accepted alerts, in order.
        fail_with: while set, `publish` raises this exception, like a topic during an outage.
    """

    def __init__(self) -> None:
        self.published: list[Alert] = []
        self.fail_with: Exception | None = None

    async def publish(self, alert: Alert) -> None:
        """Append an alert to `published`, or raise `fail_with`."""
        if self.fail_with is not None:
            raise self.fail_with
        self.published.append(alert)

    async def aclose(self) -> None:
        """Do nothing: this publisher opens nothing."""
