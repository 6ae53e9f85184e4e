"""How much of the machine was left to a benchmark: figures taken beside other work are no good."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import Self

import psutil

BUSY_CORES = 0.25
"""From how many cores in others' use a benchmark counts as disturbed."""


@dataclass(frozen=True, slots=True)
class CpuClock:
    """CPU time used up to a moment, in seconds: by everybody, and by this process and those of its
    children that have ended.
    """

    at: float
    everybody: float
    ours: float

    @classmethod
    def read(cls) -> Self:
        """The clock now."""
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # What a guest uses is in "user" already.
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        ours = 0.0
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            used = resource.getrusage(who)
            ours += used.ru_utime + used.ru_stime
        return cls(time.monotonic(), sum(times) - guests - idle, ours)

    def others_since(self, earlier: Self) -> float:
        """Cores that others used on average since `earlier`; all our children must have ended."""
        seconds = self.at - earlier.at
        others = (self.everybody - earlier.everybody) - (self.ours - earlier.ours)
        return max(0.0, others / seconds) if seconds > 0 else 0.0
