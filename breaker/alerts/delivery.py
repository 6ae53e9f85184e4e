"""Delivery of alerts from the outbox to the publisher, by one instance at a time and in order.

An opening and its outbox entry are one atomic write, so the entry survives the crash of the
instance that opened the circuit. A deliverer holds a lease on the outbox; after a crash, another
instance acquires the expired lease. An alert is published twice only if its deliverer crashes
between publishing and removing; both copies have the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid

from breaker.alerts.base import AlertPublisher, Outbox, with_link
from breaker.clock import Clock
from breaker.errors import AlertDeliveryError, StoreUnavailableError
from breaker.state import Rules

logger = logging.getLogger(__name__)

BATCH = 10
RETRY_SECONDS = 1.0
RETRY_SECONDS_MAX = 30.0


class AlertDelivery:
    """A deliverer of one circuit's alerts, on request and in the background.

    Args:
        outbox: the circuit's undelivered alerts.
        rules: the circuit's rules.
        publisher: the destination; None leaves the outbox to other instances.
        lease_seconds: length of the lease on the outbox; publishing one alert times out after a
            third of it.
        clock: sleeps between attempts.
        console_url: address of the operator console, which each alert links to; empty: no link.

    Attributes:
        oldest_age: seconds, age of the oldest undelivered alert after the last delivery; 0 if
            there was none, None before the first delivery.
    """

    def __init__(
        self,
        outbox: Outbox,
        rules: Rules,
        publisher: AlertPublisher | None,
        *,
        lease_seconds: float,
        clock: Clock,
        console_url: str = "",
    ) -> None:
        self._console_url = console_url
        self._outbox = outbox
        self._rules = rules
        self._publisher = publisher
        self._lease = lease_seconds
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._pause: asyncio.Future[None] | None = None
        self._again = False
        self._closing = False
        self._pending = 0
        self.oldest_age: float | None = None

    async def deliver(self) -> int:
        """Publish all undelivered alerts, oldest first, and return their number.

        Return 0 without publishing if another instance holds the lease or there is no publisher.

        Raises:
            AlertDeliveryError: an alert was not accepted; this alert and all later ones are kept.
            StoreUnavailableError: the store does not answer.
        """
        publisher = self._publisher
        if publisher is None:
            return 0
        try:
            return await self._deliver(publisher)
        finally:
            with contextlib.suppress(StoreUnavailableError):
                status = await self._outbox.outbox(self._rules)
                self.oldest_age, self._pending = status.oldest_age or 0.0, status.pending

    async def _deliver(self, publisher: AlertPublisher) -> int:
        token = uuid.uuid4().hex
        delivered = 0
        while True:
            batch = await self._outbox.claim_alerts(self._rules, token, self._lease, BATCH)
            for alert in batch.alerts:
                try:
                    async with asyncio.timeout(self._lease / 3):
                        await publisher.publish(with_link(alert, self._console_url))
                except Exception as error:
                    await self._outbox.release_alerts(self._rules, token)
                    raise AlertDeliveryError(alert.id, delivered, error) from error
                await self._outbox.settle_alert(self._rules, token, alert.entry, self._lease)
                delivered += 1
                logger.info("published alert %s", alert.id)
            if not batch.alerts:
                return delivered

    def deliver_soon(self) -> None:
        """Deliver in the background, with retries until the outbox is empty."""
        if self._publisher is None or self._closing:
            return
        self._again = True
        if self._pause is not None:
            self._pause.cancel()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._until_empty(), name="breaker-alerts")

    async def aclose(self) -> None:
        """Wait for the current attempt; alerts that stay undelivered remain in the outbox."""
        self._closing = True
        if self._pause is not None:
            self._pause.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _until_empty(self) -> None:
        delay = RETRY_SECONDS
        while not await self._deliver_once(delay):
            await self._wait_for_retry(delay)
            delay = min(delay * 2, RETRY_SECONDS_MAX)

    async def _deliver_once(self, delay: float) -> bool:
        """Return whether no retry is needed: the outbox is empty, or the breaker is closing."""
        self._again = False
        try:
            await self.deliver()
        except (AlertDeliveryError, StoreUnavailableError) as error:
            logger.warning("%s; next attempt in %g s", error, delay)
            return self._closing
        except Exception:
            # An unexpected error must not end the retries: the alert would stay undelivered.
            logger.exception("alert delivery failed; next attempt in %g s", delay)
            return self._closing
        return self._closing or (self._pending == 0 and not self._again)

    async def _wait_for_retry(self, seconds: float) -> None:
        """Sleep in a separate task, so that `deliver_soon` can end the pause by cancelling it."""
        self._pause = asyncio.ensure_future(self._clock.sleep(seconds))
        await asyncio.wait({self._pause})
        self._pause = None
