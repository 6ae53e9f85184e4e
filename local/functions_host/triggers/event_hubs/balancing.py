"""How hosts share the partitions of a hub."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Balancing:
    """How instances share partitions; Azure uses 30 s and 120 s, too long to wait for locally."""

    interval_seconds: float = 1.0
    lease_seconds: float = 10.0
