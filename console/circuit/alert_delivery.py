"""Periodic delivery of alerts and callbacks that no other process delivered."""

from __future__ import annotations

import asyncio
import logging

from breaker import BreakerError, CircuitBreaker

logger = logging.getLogger(__name__)


async def deliver_remaining_alerts(breaker: CircuitBreaker, every_seconds: float) -> None:
    """Deliver until cancelled; the next round retries after an error of the topic or the store."""
    while True:
        try:
            if count := await breaker.deliver_alerts():
                logger.warning("delivered %d alerts that no other process had delivered", count)
        except BreakerError as error:
            logger.warning("alerts were not delivered; the next round retries: %s", error)
        except Exception:
            logger.exception("delivering alerts failed; the next round retries")
        await asyncio.sleep(every_seconds)
