"""The clock for visibility timeouts, which also counts the time in which the machine sleeps."""

from __future__ import annotations

import time


def hold_time() -> float:
    """Return the time of a clock that never jumps back, in seconds."""
    # A laptop that sleeps stops the monotonic clock, but not the queue's.
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
