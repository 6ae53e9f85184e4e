"""The retention limits of a hub."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retention:
    """Limits over all partitions of one hub; the oldest events are removed first.

    Attributes:
        max_events: the number of events kept.
        max_bytes: the number of encoded bytes kept; this limit bounds the memory of a hub.
        max_age_seconds: the maximum age of an event.
    """

    max_events: int = 1_000_000
    max_bytes: int = 1 << 30
    max_age_seconds: float = 86_400.0

    def __post_init__(self) -> None:
        for name in ("max_events", "max_bytes", "max_age_seconds"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} must be greater than 0, got {value!r}")
