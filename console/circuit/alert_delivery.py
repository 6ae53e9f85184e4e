"""Publishes, now and then, whatever alerts and callbacks were left behind."""

from __future__ import annotations

import asyncio
import logging

from breaker import BreakerError, CircuitBreaker

logger = logging.getLogger(__name__)


async def deliver_remaining_alerts(breaker: CircuitBreaker, every_seconds: float) -> None:
    """Deliver, pause, repeat; a topic or store that is down is tried again next time."""
    while True:
        try:
            if count := await breaker.deliver_alerts():
                logger.warning("delivered %d alerts that were left behind", count)
        except BreakerError as error:
            logger.warning("alerts were not delivered: %s", error)
        except Exception:
            logger.exception("delivering alerts failed; going on")
        await asyncio.sleep(every_seconds)
