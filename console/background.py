"""Works that a console does for as long as it lives, whatever happens to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)

type Work = Callable[[], Coroutine[Any, Any, None]]

AGAIN_SECONDS = 1.0


def start(**works: Work) -> list[asyncio.Task[None]]:
    """Start works, each in a task of its name."""
    return [
        asyncio.create_task(keep(name, work), name=f"console-{name}")
        for name, work in works.items()
    ]


async def keep(name: str, work: Work) -> None:
    """Do a work for ever: one that fails is begun anew.

    Signs of life go out beside the works, so one that ended would look on the page like a time in
    which nothing happens.
    """
    while True:
        try:
            await work()
        except Exception:
            logger.exception("%s failed; it begins anew", name)
        await asyncio.sleep(AGAIN_SECONDS)
