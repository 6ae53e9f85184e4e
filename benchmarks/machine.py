"""The CPU time that other programs use during a benchmark and that distorts its figures."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import Self

import psutil

BUSY_CORES = 0.25
"""The number of cores used by other programs from which a benchmark counts as disturbed."""


@dataclass(frozen=True, slots=True)
class CpuClock:
    """The CPU time used up to a moment, in seconds.

    Attributes:
        at: the moment, by the monotonic clock.
        everybody: the CPU time of all processes.
        ours: the CPU time of this process and its ended children.
    """

    at: float
    everybody: float
    ours: float

    @classmethod
    def read(cls) -> Self:
        """Read the CPU times at this moment."""
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # The "user" time includes the time of guests.
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        ours = 0.0
        for processes in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            used = resource.getrusage(processes)
            ours += used.ru_utime + used.ru_stime
        return cls(time.monotonic(), sum(times) - guests - idle, ours)

    def others_since(self, earlier: Self) -> float:
        """Return the average cores that other programs used; our children must have ended."""
        seconds = self.at - earlier.at
        others = (self.everybody - earlier.everybody) - (self.ours - earlier.ours)
        return max(0.0, others / seconds) if seconds > 0 else 0.0
