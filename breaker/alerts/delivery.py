"""From the outbox to the publisher: whoever is alive delivers, one at a time and in order.

The opening and its outbox entry are one atomic write, so an opener that dies leaves the entry
behind. A deliverer takes the outbox under a lease; if it dies, the next one takes over. Published
twice is only what a crash between publishing and removing forces, and then under the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid

from breaker.alerts.base import AlertPublisher, Outbox
from breaker.clock import Clock
from breaker.errors import AlertDeliveryError, StoreUnavailableError
from breaker.state import Rules

logger = logging.getLogger(__name__)

BATCH = 10
RETRY_SECONDS = 1.0
RETRY_SECONDS_MAX = 30.0


class AlertDelivery:
    """Publishes what the outbox holds, on request and in the background.

    Args:
        outbox: the circuit's undelivered alerts.
        rules: the circuit's rules.
        publisher: None leaves the outbox to others.
        lease_seconds: how long the outbox stays ours without a sign of life; one alert gets a
            third of it.
        clock: sleeps between attempts.
    """

    def __init__(
        self,
        outbox: Outbox,
        rules: Rules,
        publisher: AlertPublisher | None,
        *,
        lease_seconds: float,
        clock: Clock,
    ) -> None:
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
        """Publish everything undelivered, oldest first; how many that were.

        0 as well while another deliverer holds the outbox, or without a publisher.

        Raises:
            AlertDeliveryError: an alert was not accepted; it and those behind it are kept.
            StoreUnavailableError: the outbox cannot be read.
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
                        await publisher.publish(alert)
                except Exception as error:
                    await self._outbox.release_alerts(self._rules, token)
                    raise AlertDeliveryError(alert.id, delivered, error) from error
                await self._outbox.settle_alert(self._rules, token, alert.entry, self._lease)
                delivered += 1
                logger.info("alert %s published", alert.id)
            if not batch.alerts:
                return delivered

    def deliver_soon(self) -> None:
        """Deliver in the background, trying again until the outbox is empty."""
        if self._publisher is None or self._closing:
            return
        self._again = True
        if self._pause is not None:
            self._pause.cancel()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._until_empty(), name="breaker-alerts")

    async def aclose(self) -> None:
        """Let an attempt under way end; what is still undelivered stays in the outbox."""
        self._closing = True
        if self._pause is not None:
            self._pause.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _until_empty(self) -> None:
        delay = RETRY_SECONDS
        while not await self._emptied(delay):
            await self._rest(delay)
            delay = min(delay * 2, RETRY_SECONDS_MAX)

    async def _emptied(self, delay: float) -> bool:
        """Whether one attempt was enough, or the breaker is closing."""
        self._again = False
        try:
            await self.deliver()
        except (AlertDeliveryError, StoreUnavailableError) as error:
            logger.warning("%s; next attempt in %g s", error, delay)
            return self._closing
        except Exception:
            # An alert that is not delivered must not be forgotten, whatever it is that failed.
            logger.exception("alerts could not be delivered; next attempt in %g s", delay)
            return self._closing
        return self._closing or (self._pending == 0 and not self._again)

    async def _rest(self, seconds: float) -> None:
        """Sleep in a task of its own, which may be cancelled without losing an attempt."""
        self._pause = asyncio.ensure_future(self._clock.sleep(seconds))
        await asyncio.wait({self._pause})
        self._pause = None
