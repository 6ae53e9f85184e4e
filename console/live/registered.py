"""The rules of a circuit as the app's instances have registered them."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import Any

from breaker import BreakerError, BreakerSettings, CircuitBreaker, Registration
from breaker.registration import RULES

logger = logging.getLogger(__name__)

READ_SECONDS = 10.0
"""The registrations are read this often while a page is open."""
ANSWER_SECONDS = 0.5
"""A slower answer leaves the page with what is known."""
NAMES_MOST = 3
"""Greatest number of instances that a note names for each value."""


class RegisteredRules:
    """The rules of one circuit, read again and again.

    Args:
        breaker: the circuit.

    Attributes:
        settings: the settings of the instance that polled last; the console's own if unknown.
        note: a sentence for the operator if the registrations do not fit; else empty.
    """

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._read_at: float | None = None
        self.settings = breaker.settings
        self.note = ""

    async def read(self, *, pages: bool) -> None:
        """Read the registrations if that is due; an error leaves what is known."""
        now = time.monotonic()
        if self._read_at is not None and (not pages or now - self._read_at < READ_SECONDS):
            return
        self._read_at = now
        own = self._breaker.settings
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await self._breaker.registration()
        except (BreakerError, TimeoutError) as error:
            logger.debug("a circuit's registrations cannot be read; retrying: %s", error)
            return
        if found is not None:
            self.settings = replace(own, **_rules_of(found.settings))
        self.note = registration_note(found, own)


def registration_note(found: Registration | None, own: BreakerSettings) -> str:
    """Return a sentence for the operator if a circuit's registrations do not fit; else "".

    Args:
        found: the instances that poll the circuit; None if none has registered.
        own: the console's settings of the circuit.
    """
    if found is None:
        return (
            "No instance has registered this circuit: BREAKER_NAME and REDIS_URL of the console "
            "must be those of the app."
        )
    if found.differences:
        return f"The instances differ in {'; '.join(_differing(found))}."
    theirs, ours = _rules_of(found.settings), _rules_of(own)
    wrong = [name for name in RULES if theirs[name] != ours[name]]
    if wrong:
        return (
            f"The console has other settings than the app ({', '.join(wrong)}): "
            "it takes the BREAKER_ settings of the app."
        )
    return ""


def _differing(found: Registration) -> list[str]:
    """Return each setting that differs, with its values and the instances that have them."""
    return [
        f"{name} ("
        + ", ".join(
            f"{value} on {', '.join(names[:NAMES_MOST])}"
            + (f" and {len(names) - NAMES_MOST} more" if len(names) > NAMES_MOST else "")
            for value, names in texts.items()
        )
        + ")"
        for name, texts in found.differences.items()
    ]


def _rules_of(settings: BreakerSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in RULES}
