"""An event loop for simulations, in which nothing waits for real time or for the network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop that neither polls its selector nor reads the time while callbacks are ready.

    A simulated hour is a few hundred callbacks, each of which takes less time than one poll.
    """

    _ready: Any
    _scheduled: Any
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self._idle: asyncio.Future[None] | None = None

    async def idle(self) -> None:
        """Wait until no other callback is ready."""
        self._idle = self.create_future()
        await self._idle

    def call_soon[*Given](
        self,
        callback: Callable[[*Given], object],
        *args: *Given,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """See `asyncio.AbstractEventLoop.call_soon`."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def _run_once(self) -> None:
        ready = self._ready
        if not ready and self._idle is not None:
            idle, self._idle = self._idle, None
            if not idle.done():
                idle.set_result(None)
        if not ready or self._scheduled or self._stopping:
            super()._run_once()  # type: ignore[misc]
            return
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
