"""The intervals with which hosts share the partitions of a hub."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Balancing:
    """The balancing interval and the lease length; shorter than Azure's 30 s and 120 s."""

    interval_seconds: float = 1.0
    lease_seconds: float = 10.0
