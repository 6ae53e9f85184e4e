"""Background tasks that are restarted when they fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)

type BackgroundTask = Callable[[], Coroutine[Any, Any, None]]

RESTART_SECONDS = 1.0


def start(**tasks: BackgroundTask) -> list[asyncio.Task[None]]:
    """Start background tasks under their names."""
    return [
        asyncio.create_task(run_restarting(name, task), name=f"console-{name}")
        for name, task in tasks.items()
    ]


async def run_restarting(name: str, task: BackgroundTask) -> None:
    """Run a background task until cancelled; restart the task when it fails.

    The page's heartbeat does not depend on these tasks, so a stopped task would look on the page
    like a time without events.
    """
    while True:
        try:
            await task()
        except Exception:
            logger.exception("background task %s failed; it is restarted", name)
        await asyncio.sleep(RESTART_SECONDS)
