"""A topic, which delivers each published event to the matching subscriptions."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from local.event_grid.delivery import Accepted, Delivery
from local.event_grid.errors import BusyError, NotFoundError
from local.event_grid.events import GridEvent
from local.event_grid.journal import Journal
from local.event_grid.schedule import RetrySchedule, is_permanent, is_success
from local.event_grid.subscription import Subscription
from local.event_grid.webhook import NoAnswerError, Webhook

_log = logging.getLogger(__name__)

KEPT_EVENTS = 1000
MAX_PENDING = 10_000
_MAX_CONNECTIONS = 32


class Topic:
    """A topic with its record in memory, and with subscriptions and pending deliveries on disk.

    Pending deliveries are retried at once after a restart. The number of attempts then begins at 0,
    but the age of the event is kept.

    Args:
        name: name in the topic's URL.
        key: key that publishers must send.
        webhook: client for the subscribers' endpoints.
        schedule: retry schedule of failed deliveries.
        journal: store of subscriptions and pending deliveries; the default stores nothing.
        clock: time in seconds since 1970.
        sleep: waits a number of seconds; tests advance time with this function.
    """

    def __init__(
        self,
        name: str,
        key: str,
        webhook: Webhook,
        *,
        schedule: RetrySchedule | None = None,
        journal: Journal | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self._key = key.encode()
        self._webhook = webhook
        self._schedule = schedule or RetrySchedule()
        self._journal = journal or Journal()
        self._clock = clock
        self._sleep = sleep
        self._subscriptions = {known.name: known for known in self._journal.subscriptions()}
        self._accepted: deque[Accepted] = deque(maxlen=KEPT_EVENTS)
        self._dead_letters: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._connections = asyncio.Semaphore(_MAX_CONNECTIONS)

    def accepts_key(self, key: str) -> bool:
        """Return whether the key is right, in the same time for every wrong key."""
        return hmac.compare_digest(key.encode(), self._key)

    def publish(self, events: list[GridEvent]) -> None:
        """Accept all events or none, and start their deliveries in the background.

        Raises:
            BusyError: too many deliveries are pending.
        """
        wanted = [
            (event, [s for s in self._subscriptions.values() if s.wants(event)]) for event in events
        ]
        if len(self._tasks) + sum(len(takers) for _, takers in wanted) > MAX_PENDING:
            raise BusyError(
                f"{len(self._tasks)} deliveries are pending, and at most {MAX_PENDING} are "
                "accepted; try again later"
            )
        for event, takers in wanted:
            accepted = Accepted(event, self._clock())
            names = [subscription.name for subscription in takers]
            if names:
                self._journal.accepted(accepted.key, event, accepted.received_at, names)
            self._start(accepted, takers)

    def resume(self) -> None:
        """Start the deliveries that an earlier process has left pending."""
        for pending in self._journal.pending():
            accepted = Accepted(pending.event, pending.received_at, key=pending.key)
            known = [self._subscriptions.get(name) for name in pending.waiting]
            self._start(accepted, [subscription for subscription in known if subscription])

    def _start(self, accepted: Accepted, takers: list[Subscription]) -> None:
        self._accepted.append(accepted)
        for subscription in takers:
            delivery = Delivery(subscription.name)
            accepted.deliveries.append(delivery)
            task = asyncio.create_task(self._deliver(subscription, accepted, delivery))
            self._tasks[task] = subscription.name
            task.add_done_callback(lambda task: self._tasks.pop(task, None))

    async def subscribe(self, subscription: Subscription, *, validated: bool = False) -> None:
        """Add or replace a subscription for future events.

        Args:
            subscription: the new subscription.
            validated: whether to skip the validation handshake with the endpoint.

        Raises:
            ValidationError: the endpoint did not complete the validation handshake.
        """
        if not validated:
            await self._webhook.validate(subscription, self.name)
        self._subscriptions[subscription.name] = subscription
        self._journal.subscribed(subscription)

    def unsubscribe(self, name: str) -> None:
        """Remove a subscription and cancel its pending deliveries.

        Raises:
            NotFoundError: the subscription does not exist.
        """
        if self._subscriptions.pop(name, None) is None:
            raise NotFoundError(f"topic {self.name} has no subscription {name!r}")
        self._journal.unsubscribed(name)
        for task, subscriber in self._tasks.items():
            if subscriber == name:
                task.cancel()

    def subscriptions(self) -> list[dict[str, Any]]:
        """Return all subscriptions in their public form."""
        return [subscription.as_dict() for subscription in self._subscriptions.values()]

    def events(self) -> list[dict[str, Any]]:
        """Return the last `KEPT_EVENTS` events and their deliveries, oldest first."""
        return [accepted.as_dict() for accepted in self._accepted]

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the last `KEPT_EVENTS` dead-lettered deliveries, oldest first."""
        return list(self._dead_letters)

    async def aclose(self) -> None:
        """Cancel pending deliveries, which stay in the journal, and close the journal."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._journal.close()

    async def _deliver(
        self, subscription: Subscription, accepted: Accepted, delivery: Delivery
    ) -> None:
        try:
            while not await self._attempt(subscription, accepted, delivery):
                age = self._clock() - accepted.received_at
                wait = self._schedule.wait_after(delivery.attempts, age)
                if wait is None:
                    self._give_up(accepted, delivery, "no attempts left")
                    break
                await self._sleep(wait)
            self._journal.ended(accepted.key, subscription.name)
        except asyncio.CancelledError:
            delivery.status = "cancelled"
            raise

    async def _attempt(
        self, subscription: Subscription, accepted: Accepted, delivery: Delivery
    ) -> bool:
        """Make one attempt; return whether the delivery is finished."""
        try:
            async with self._connections:
                status = await self._webhook.deliver(
                    subscription, accepted.event, self.name, delivery.attempts
                )
        except NoAnswerError as error:
            delivery.attempts += 1
            delivery.last_result = str(error)
            return False
        delivery.attempts += 1
        delivery.last_result = str(status)
        if is_success(status):
            delivery.status = "delivered"
            return True
        if is_permanent(status):
            self._give_up(accepted, delivery, f"{status} is not retried")
            return True
        return False

    def _give_up(self, accepted: Accepted, delivery: Delivery, reason: str) -> None:
        delivery.status = "dead_lettered"
        self._dead_letters.append(
            {
                "subscription": delivery.subscription,
                "reason": reason,
                "last_result": delivery.last_result,
                "attempts": delivery.attempts,
                "dead_lettered_at": datetime.fromtimestamp(self._clock(), UTC).isoformat(),
                "event": dict(accepted.event.payload),
            }
        )
        _log.warning(
            "topic %s: event %s for subscription %s is dead-lettered after %d attempts: %s "
            "(last result: %s)",
            *(self.name, accepted.event.id, delivery.subscription, delivery.attempts),
            *(reason, delivery.last_result),
        )
