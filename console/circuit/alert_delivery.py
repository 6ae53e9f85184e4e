"""Periodic delivery of alerts and callbacks that no other process delivered."""

from __future__ import annotations

import logging

from breaker import BreakerError, CircuitBreaker, Clock

logger = logging.getLogger(__name__)


async def deliver_remaining_alerts(
    breaker: CircuitBreaker, clock: Clock, every_seconds: float, repeat_seconds: float
) -> None:
    """Deliver until cancelled; the next round retries after an error of the topic or the store.

    Args:
        breaker: the circuit.
        clock: sleeps between two rounds.
        every_seconds: pause between two rounds.
        repeat_seconds: time after an opening until its alert is published again, if no workflow run
            has registered; 0 means never.
    """
    while True:
        try:
            if repeat_seconds:
                await breaker.repeat_opened(repeat_seconds)
            if count := await breaker.deliver_alerts():
                logger.warning("delivered %d alerts that no other process had delivered", count)
        except BreakerError as error:
            logger.warning("alerts were not delivered; the next round retries: %s", error)
        except Exception:
            logger.exception("delivering alerts failed; the next round retries")
        await clock.sleep(every_seconds)
