"""Shows the browsers of this instance the circuit: pushed changes at once, counts each second."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import asdict
from typing import Any

from breaker import BreakerError, BreakerSettings, Circuit, CircuitBreaker
from console.live.fanout import Fanout

logger = logging.getLogger(__name__)

ENTRIES = 50
SECONDS = 1.0
HISTORY_SECONDS = 0.5
"""How long a new state may wait to be shown until it is known who brought it about."""
_PASSING = ("as_of", "retry_after")
"""What differs between two looks at a circuit that did not change."""


async def feed_circuit(breaker: CircuitBreaker, fanout: Fanout) -> None:
    """Follow the circuit for ever."""
    shown: dict[str, Any] | None = None
    history, position = "[]", None
    while True:
        circuit = breaker.circuit
        document = circuit_document(circuit, breaker.settings)
        lasting = {name: value for name, value in document.items() if name not in _PASSING}
        if lasting != shown or circuit.position != position:
            # Who approved and who closed is in the history as soon as it is in the circuit.
            if circuit.position != position:
                try:
                    async with asyncio.timeout(HISTORY_SECONDS):
                        history = await history_text(breaker)
                    position = circuit.position
                except (BreakerError, TimeoutError) as error:
                    logger.debug("the history cannot be read just now: %s", error)
            fanout.show_circuit(json.dumps(document, separators=(",", ":")), history)
            shown = lasting
        await breaker.wait_for_change(circuit, timeout=SECONDS)


async def history_text(breaker: CircuitBreaker, limit: int = ENTRIES) -> str:
    """The latest changes as JSON, newest first.

    Raises:
        StoreUnavailableError: they cannot be read.
    """
    entries = [asdict(entry) for entry in await breaker.history(limit)]
    return json.dumps(entries, separators=(",", ":"))


def circuit_document(circuit: Circuit, settings: BreakerSettings) -> dict[str, Any]:
    """A circuit as the page gets it, with the rules that decide."""
    return asdict(circuit) | {
        "recovery": settings.recovery,
        "failure_ratio": settings.failure_ratio,
        "minimum_throughput": settings.minimum_throughput,
        "half_open_permits": settings.half_open_permits,
    }
