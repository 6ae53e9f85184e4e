"""The handler that costs nothing; for the app, `EVENT_HANDLER=benchmarks.handlers:no_op`."""

from __future__ import annotations

from processing.event import Event


async def no_op(event: Event) -> None:
    """Handle an event by doing nothing."""
