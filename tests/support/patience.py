"""Time limits of tests for results that must come.

The limits only end a hanging test. On a busy machine any answer may take seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

STORE_SECONDS = 30.0
"""The time limit of a store in Redis, in tests of something else than that limit."""
HANG_SECONDS = 60.0
"""The time limit for any other event."""


def until_true(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition of another process holds, for at most HANG_SECONDS."""
    give_up_at = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at, f"{what} did not come within {HANG_SECONDS:g} s"
        time.sleep(0.01)
