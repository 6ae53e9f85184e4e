"""Works that a console does for as long as it lives, whatever happens to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)

type BackgroundTask = Callable[[], Coroutine[Any, Any, None]]

RESTART_SECONDS = 1.0


def start(**tasks: BackgroundTask) -> list[asyncio.Task[None]]:
    """Start works, each in a task of its name."""
    return [
        asyncio.create_task(run_restarting(name, task), name=f"console-{name}")
        for name, task in tasks.items()
    ]


async def run_restarting(name: str, task: BackgroundTask) -> None:
    """Do a work for ever: one that fails is begun anew.

    Signs of life go out beside the works, so one that ended would look on the page like a time in
    which nothing happens.
    """
    while True:
        try:
            await task()
        except Exception:
            logger.exception("%s failed; it begins anew", name)
        await asyncio.sleep(RESTART_SECONDS)
