"""Feed of the circuit to the browsers: state changes at once, counters each second."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import asdict
from typing import Any

from breaker import BreakerError, BreakerSettings, Circuit, CircuitBreaker
from console.live.fanout import Fanout

logger = logging.getLogger(__name__)

ENTRIES = 50
SECONDS = 1.0
HISTORY_SECONDS = 0.5
"""A new state is shown without its history when the history takes longer than this."""
STEPS_SECONDS = 5.0
"""The history is read this often while a page is open: a stop of the app changes no state."""
_PASSING = ("as_of", "retry_after", "last_success_at")
"""Fields that differ between two reads of an unchanged circuit."""


async def feed_circuit(breaker: CircuitBreaker, fanout: Fanout) -> None:
    """Show the circuit to all browsers until cancelled."""
    shown: dict[str, Any] | None = None
    history, position, read_at = "[]", None, 0.0
    while True:
        circuit = breaker.circuit
        document = circuit_document(circuit, breaker.settings)
        lasting = {name: value for name, value in document.items() if name not in _PASSING}
        before, now = history, time.monotonic()
        # The store writes history and circuit together, so a new state is in the history.
        if circuit.position != position or (fanout.pages and now - read_at >= STEPS_SECONDS):
            read_at = now
            try:
                async with asyncio.timeout(HISTORY_SECONDS):
                    history = await history_text(breaker)
                position = circuit.position
            except (BreakerError, TimeoutError) as error:
                logger.debug("the circuit's history cannot be read; retrying: %s", error)
        if lasting != shown or circuit.position != position or history != before:
            fanout.show_circuit(json.dumps(document, separators=(",", ":")), history)
            shown = lasting
        await breaker.wait_for_change(circuit, timeout=SECONDS)


async def history_text(breaker: CircuitBreaker, limit: int = ENTRIES) -> str:
    """Return the latest changes as JSON, newest first.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    entries = [asdict(entry) for entry in await breaker.history(limit)]
    return json.dumps(entries, separators=(",", ":"))


def circuit_document(circuit: Circuit, settings: BreakerSettings) -> dict[str, Any]:
    """Return a circuit as the page receives it, with the settings that decide on its state."""
    return asdict(circuit) | {
        "mode": settings.mode,
        "recovery": settings.recovery,
        "failure_ratio": settings.failure_ratio,
        "minimum_throughput": settings.minimum_throughput,
        "half_open_permits": settings.half_open_permits,
    }
