"""The happenings at the time of a fault."""

from __future__ import annotations

from enum import StrEnum


class Happening(StrEnum):
    """A change at the first attempt of a struck call."""

    NOTHING = "nothing"
    APPROVED = "approved"
    ISOLATED = "isolated"
    CLOSED = "closed by hand"
    HALF_OPEN = "half-open by the timer"
    OPENED_AGAIN = "opened again"
    REDIS_EMPTIED = "Redis emptied"
    CONSOLE_AWAY = "console away for two hours"
    RESTARTED = "workflow restarted"
    TWICE = "delivered twice, out of order"
