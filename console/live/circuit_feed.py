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
from console.live.registered import RegisteredRules

logger = logging.getLogger(__name__)

ENTRIES = 50
SECONDS = 1.0
HISTORY_SECONDS = 0.5
"""A new state is shown without its history when the history takes longer than this."""
STEPS_SECONDS = 5.0
"""The history is read this often while a page is open: a stop of the app changes no state."""
_PASSING = ("as_of", "retry_after", "last_success_at")
"""Fields that differ between two reads of an unchanged circuit."""


class Reading:
    """A circuit and its history as a page shows them, read again and again.

    Args:
        breaker: the circuit, watched.
        entries: greatest number of entries of the history.

    Attributes:
        circuit: the circuit at the last read.
        document: the circuit as the page receives it.
        history: the history as JSON, newest first.
    """

    def __init__(self, breaker: CircuitBreaker, entries: int = ENTRIES) -> None:
        self._breaker = breaker
        self._entries = entries
        self._registered = RegisteredRules(breaker)
        self._position: object = None
        self._read_at = 0.0
        self._shown: dict[str, Any] | None = None
        self.circuit = breaker.circuit
        self.document: dict[str, Any] = {}
        self.history = "[]"

    async def read(self, *, pages: bool) -> bool:
        """Read the circuit, and its history if that may have changed.

        Args:
            pages: whether a page is open, so that the chain's steps are shown soon.

        Returns:
            Whether a page should receive the circuit again.
        """
        circuit = self.circuit = self._breaker.circuit
        await self._registered.read(pages=pages)
        self.document = circuit_document(self._breaker, circuit, self._registered.settings) | {
            "failure_threshold": self._registered.settings.failure_threshold,
            "note": self._registered.note,
        }
        lasting = {name: value for name, value in self.document.items() if name not in _PASSING}
        before, now = self.history, time.monotonic()
        # The store writes history and circuit together, so a new state is in the history.
        if circuit.position != self._position or (pages and now - self._read_at >= STEPS_SECONDS):
            self._read_at = now
            try:
                async with asyncio.timeout(HISTORY_SECONDS):
                    self.history = await history_text(self._breaker, self._entries)
                self._position = circuit.position
            except (BreakerError, TimeoutError) as error:
                logger.debug("a circuit's history cannot be read; retrying: %s", error)
        changed = lasting != self._shown or circuit.position != self._position
        self._shown = lasting
        return changed or self.history != before

    async def wait(self) -> None:
        """Wait for the next change of the circuit's state, for `SECONDS` at most."""
        await self._breaker.wait_for_change(self.circuit, timeout=SECONDS)


async def feed_circuit(breaker: CircuitBreaker, fanout: Fanout) -> None:
    """Show the circuit to all browsers until cancelled."""
    reading = Reading(breaker)
    while True:
        if await reading.read(pages=bool(fanout.pages)):
            fanout.show_circuit(encoded(reading.document), reading.history)
        await reading.wait()


def encoded(document: object) -> str:
    """Return a document as JSON without spaces."""
    return json.dumps(document, separators=(",", ":"))


async def history_text(breaker: CircuitBreaker, limit: int = ENTRIES) -> str:
    """Return the latest changes as JSON, newest first.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    entries = [asdict(entry) for entry in await breaker.history(limit)]
    return encoded(entries)


def circuit_document(
    breaker: CircuitBreaker, circuit: Circuit, settings: BreakerSettings | None = None
) -> dict[str, Any]:
    """Return a circuit as the page receives it, with the settings that decide on its state.

    Args:
        breaker: the circuit.
        circuit: the state to show.
        settings: the settings; None: those of `breaker`.
    """
    settings = settings or breaker.settings
    return asdict(circuit) | {
        "mode": settings.mode,
        "stops_app": breaker.stops_app,
        "recovery": settings.recovery,
        "failure_ratio": settings.failure_ratio,
        "minimum_throughput": settings.minimum_throughput,
        "half_open_permits": settings.half_open_permits,
    }
