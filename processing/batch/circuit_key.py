"""The key by which the circuit knows an event."""

from __future__ import annotations

from breaker import Key
from processing.event import Event


def circuit_key(event: Event) -> Key:
    """Return the event's key; without a key its partition, which stands for many keys."""
    if not isinstance(event.key, str):  # None, or what a handler put into a frozen event
        return Key(event.partition, several=True)
    return Key(event.key)
