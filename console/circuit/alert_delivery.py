"""Periodic delivery of alerts and callbacks that no other process delivered."""

from __future__ import annotations

import logging

from breaker import BreakerError, CircuitState, Clock
from console.circuit.circuits import Circuits

logger = logging.getLogger(__name__)


async def deliver_remaining_alerts(
    circuits: Circuits, clock: Clock, every_seconds: float, repeat_seconds: float
) -> None:
    """Deliver until cancelled; the next round retries after an error of the topic or the store.

    Args:
        circuits: the circuits.
        clock: sleeps between two rounds.
        every_seconds: pause between two rounds.
        repeat_seconds: time after an opening until its alert is published again, if no workflow run
            has registered; 0 means never. The alert of a dependency that recovers by itself is not
            published again, because no run asks about that dependency.
    """
    while True:
        try:
            if repeat_seconds:
                await _repeat(circuits, repeat_seconds)
            if count := await circuits.deliver_alerts():
                logger.warning("delivered %d alerts that no other process had delivered", count)
        except BreakerError as error:
            logger.warning("alerts were not delivered; the next round retries: %s", error)
        except Exception:
            logger.exception("delivering alerts failed; the next round retries")
        await clock.sleep(every_seconds)


async def _repeat(circuits: Circuits, repeat_seconds: float) -> None:
    await circuits.app.repeat_opened(repeat_seconds)
    for breaker in list(circuits.dependencies.values()):
        circuit = breaker.circuit
        # The opening itself says whether it ends by itself, whatever the console's settings say.
        if circuit.state is CircuitState.OPEN and circuit.resume_at is None:
            await breaker.repeat_opened(repeat_seconds)
