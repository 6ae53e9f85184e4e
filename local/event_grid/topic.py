"""A topic: takes events, and delivers each to every subscription that wants it."""

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
    """Its record is in memory; what it has promised outlives the process, if there is a journal.

    After a restart, what was not delivered is tried at once: its attempts count from the beginning
    again, its age does not.

    Args:
        name: as in its address.
        key: what publishers must show.
        webhook: how subscribers are reached.
        schedule: when failed deliveries are tried again.
        journal: keeps subscriptions and pending deliveries.
        clock: seconds since 1970.
        sleep: waits seconds; tests advance time through it.
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

    def takes_key(self, key: str) -> bool:
        """True for the right key; takes the same time for every wrong one."""
        return hmac.compare_digest(key.encode(), self._key)

    def publish(self, events: list[GridEvent]) -> None:
        """Take all events, or none; delivery goes on by itself.

        Raises:
            BusyError: too many deliveries are pending already.
        """
        wanted = [
            (event, [s for s in self._subscriptions.values() if s.wants(event)]) for event in events
        ]
        if len(self._tasks) + sum(len(takers) for _, takers in wanted) > MAX_PENDING:
            raise BusyError(f"{len(self._tasks)} deliveries are pending; try again later")
        for event, takers in wanted:
            accepted = Accepted(event, self._clock())
            names = [subscription.name for subscription in takers]
            if names:
                self._journal.accepted(accepted.key, event, accepted.received_at, names)
            self._start(accepted, takers)

    def resume(self) -> None:
        """Go on with what an earlier process has not delivered."""
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
        """Add a subscription, or replace the one of its name, for events from now on.

        Args:
            subscription: who wants what.
            validated: the endpoint is known to agree; without it it is asked.

        Raises:
            ValidationError: it does not agree.
        """
        if not validated:
            await self._webhook.validate(subscription, self.name)
        self._subscriptions[subscription.name] = subscription
        self._journal.subscribed(subscription)

    def unsubscribe(self, name: str) -> None:
        """Remove a subscription; what is pending for it is cancelled.

        Raises:
            NotFoundError: there is none of that name.
        """
        if self._subscriptions.pop(name, None) is None:
            raise NotFoundError(f"topic {self.name} has no subscription {name!r}")
        self._journal.unsubscribed(name)
        for task, subscriber in self._tasks.items():
            if subscriber == name:
                task.cancel()

    def subscriptions(self) -> list[dict[str, Any]]:
        """All of them, in their public form."""
        return [subscription.as_dict() for subscription in self._subscriptions.values()]

    def events(self) -> list[dict[str, Any]]:
        """The last events, oldest first, with their deliveries."""
        return [accepted.as_dict() for accepted in self._accepted]

    def dead_letters(self) -> list[dict[str, Any]]:
        """The last deliveries that were given up, oldest first."""
        return list(self._dead_letters)

    async def aclose(self) -> None:
        """Cancel what is pending; the journal still has it."""
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
        """Try once; True when there is nothing more to do."""
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
            "event %s for %s is dead-lettered after %d attempts: %s (last result: %s)",
            *(accepted.event.id, delivery.subscription, delivery.attempts),
            *(reason, delivery.last_result),
        )
