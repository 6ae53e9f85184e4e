"""The topic: it accepts alerts, and delivers the openings to the workflow's trigger."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from breaker.alerts.base import Alert
from breaker.alerts.event_grid import cloud_event
from local.event_grid.schedule import RetrySchedule, is_permanent, is_success
from local.workflow.routes import OPENED
from tests.chain.clocks import MINUTE, Background
from tests.chain.faults import Call, FaultLine, LostError
from tests.chain.infra import INFRA
from tests.chain.metrics import TOPIC, Metrics


class RefusedError(Exception):
    """A publish request that the topic has refused."""


class EventGrid:
    """The topic with its one subscription, as a publisher of alerts.

    Args:
        line: the way of each call.
        metrics: the topic's metrics.
        background: the deliveries.
        trigger: calls the workflow's trigger; returns the status.
    """

    def __init__(
        self,
        line: FaultLine,
        metrics: Metrics,
        background: Background,
        trigger: Callable[[dict[str, Any]], Awaitable[int]],
    ) -> None:
        self._line = line
        self._metrics = metrics
        self._background = background
        self._trigger = trigger
        self._schedule = _schedule()
        self.pending = 0
        self.latest: Alert | None = None

    async def publish(self, alert: Alert) -> None:
        """See `AlertPublisher.publish`."""

        async def accept() -> int:
            self._metrics.count(TOPIC, "PublishSuccessCount")
            self.deliver(alert)
            return 200

        try:
            status = await self._line.send(Call.PUBLISH, accept, lambda status: status)
        except LostError as error:
            raise OSError(str(error)) from error
        if status != 200:
            self._metrics.count(TOPIC, "PublishFailCount")
            raise RefusedError(f"HTTP {status}")

    async def aclose(self) -> None:
        """See `AlertPublisher.aclose`."""

    def deliver(self, alert: Alert) -> None:
        """Deliver an accepted alert, if the subscription wants the alert."""
        if alert.type == OPENED:
            self._metrics.count(TOPIC, "MatchedEventCount")
            self.latest = alert
            self.pending += 1
            self._background.start(self._deliver(alert))

    async def _deliver(self, alert: Alert) -> None:
        """Deliver with retries until success, a permanent refusal, or the end of the time."""
        try:
            began, attempts, clock = self._line.clock.now(), 0, self._line.clock
            outputs = _outputs(alert)
            while True:
                status = await self._attempt(outputs)
                attempts += 1
                if is_success(status):
                    self._metrics.count(TOPIC, "DeliverySuccessCount")
                    return
                self._metrics.count(TOPIC, "DeliveryAttemptFailCount")
                wait = self._schedule.wait_after(attempts, clock.now() - began)
                if wait is None or is_permanent(status):
                    self._metrics.count(TOPIC, "DeadLetteredCount")
                    return
                await clock.sleep_until(clock.now() + wait)
        finally:
            self.pending -= 1

    async def _attempt(self, outputs: dict[str, Any]) -> int:
        try:
            return await self._line.send(
                Call.DELIVER, lambda: self._trigger(outputs), lambda status: status
            )
        except LostError:
            return 0


def _outputs(alert: Alert) -> dict[str, Any]:
    """Return the trigger's outputs; the body is base64, as of every type but application/json."""
    event = cloud_event(alert)
    kind = "application/cloudevents+json; charset=utf-8"
    assert event.time is not None
    body = {
        "specversion": "1.0",
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": event.time.isoformat().replace("+00:00", "Z"),
        "data": event.data,
    }
    content = base64.b64encode(json.dumps(body).encode()).decode()
    return {
        "headers": {"Content-Type": kind},
        "body": {"$content-type": kind, "$content": content},
    }


def _schedule() -> RetrySchedule:
    """Return the subscription's retry policy, as the template sets it."""
    text = (INFRA / "modules" / "topic-subscription.bicep").read_text()
    found = {
        name: int(value)
        for name, value in re.findall(
            r"(maxDeliveryAttempts|eventTimeToLiveInMinutes): (\d+)", text
        )
    }
    return RetrySchedule(found["maxDeliveryAttempts"], found["eventTimeToLiveInMinutes"] * MINUTE)
