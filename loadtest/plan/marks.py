"""The marks of events: the values of the application property `simulate`."""

from __future__ import annotations

from enum import StrEnum

SLOW_MS = (5, 60)
"""The least and most milliseconds that the handler of a slow event takes."""

HANG_MS = 15_000
"""The milliseconds that a hanging handler takes, unless a timeout cancels the handler."""


BLOCK_MS = (2_100, 2_700)
"""The least and most milliseconds for which a blocking handler blocks the event loop.

The app notices every block of two seconds. The handlers' time limit is three seconds.
"""


class Fault(StrEnum):
    """The value of the application property `simulate` for failing events."""

    POISON = "poison"
    ERROR = "error"
    KILL = "kill"
    """The handler kills its process with SIGKILL."""
    SEIZE = "seize"
    """The handler holds the interpreter, so that no other thread of the process runs."""


DEADLY = frozenset({Fault.KILL, Fault.SEIZE})
"""The faults that end the process."""


class Delay(StrEnum):
    """The value of `simulate` for events that succeed after the property `milliseconds`."""

    SLOW = "slow"
    HANG = "hang"
    """Only the first attempt hangs; the retry succeeds."""
    BLOCK = "block"
    """The handler blocks the event loop of its process."""
