"""The no-op handler; the app loads it with `EVENT_HANDLER=benchmarks.handlers:no_op`."""

from __future__ import annotations

from processing.event import Event


async def no_op(event: Event) -> None:
    """Return at once."""
