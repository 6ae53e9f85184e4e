"""A handler that poisons every event."""

from __future__ import annotations

from processing.errors import PoisonEventError
from processing.event import Event


async def refuse(_event: Event) -> None:
    """Refuse the event."""
    raise PoisonEventError("refused for a test")
