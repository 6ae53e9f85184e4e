"""A publisher that keeps what it was given, for tests and for trying things out."""

from __future__ import annotations

from breaker.alerts.base import Alert


class MemoryPublisher:
    """Collects alerts in `published`; `fail_with` makes it refuse.

    Attributes:
        published: every accepted alert, in order.
        fail_with: raised by `publish` while it is set, as a topic that is down would.
    """

    def __init__(self) -> None:
        self.published: list[Alert] = []
        self.fail_with: Exception | None = None

    async def publish(self, alert: Alert) -> None:
        """Accept an alert."""
        if self.fail_with is not None:
            raise self.fail_with
        self.published.append(alert)

    async def aclose(self) -> None:
        """Nothing was opened."""
