"""The range of events that a partition of the hub retains."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HubRange:
    """The range of events that a partition retains.

    Attributes:
        first: sequence number of the first retained event.
        end: sequence number of the next event that will be enqueued.
    """

    first: int
    end: int
