"""A running function app: its functions, their listeners, drain and resume."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from local.functions_host.triggers.listener import Listener
from local.functions_host.worker.execution import Executor
from local.functions_host.worker.functions import Function

if TYPE_CHECKING:
    from local.functions_host.triggers.factory import ListenerFactory

_log = logging.getLogger("Host.General")


class Host:
    """Controller of the listeners of an app's enabled functions."""

    def __init__(
        self, active: Sequence[Function], factory: ListenerFactory | None, executor: Executor
    ) -> None:
        """Take the factory of the listeners; None when every function is called over HTTP."""
        self._active = active
        self._factory = factory
        self._executor = executor
        self._listeners: list[Listener] = []
        self._completing: asyncio.Task[None] | None = None
        self._changing = (
            asyncio.Lock()
        )  # requests to drain and to resume may arrive at the same time
        self.draining = False
        self.state = "Running"

    async def start(self) -> None:
        """Start every listener."""
        self._listeners = self._factory.build(self._active) if self._factory else []
        await asyncio.gather(*(listener.start() for listener in self._listeners))

    async def drain(self) -> None:
        """Begin drain mode: start no new work, and stop the listeners after the running work.

        Nothing is cancelled, so batches in flight still write their checkpoints. Drain mode does
        not complete while a function with unlimited retries fails.
        """
        async with self._changing:
            if self.draining or self.state == "Stopping":
                return
            self.draining = True
            _log.info("DrainMode mode enabled")
            await asyncio.gather(*(listener.drain() for listener in self._listeners))
            self._completing = asyncio.get_running_loop().create_task(self._complete_drain())

    async def _complete_drain(self) -> None:
        while await self._executor.wait(3600):
            pass
        async with self._changing:  # `_end_completing` cannot cancel this part
            await self._stop_listeners(0)
        _log.info("Drain mode completed: the listeners have stopped")

    async def resume(self) -> None:
        """Leave drain mode and start the listeners again."""
        async with self._changing:
            if not self.draining or self.state == "Stopping":
                return
            await self._end_completing()
            await self._stop_listeners(0)
            self.draining = False
            await self.start()
            _log.info("Drain mode ended: listening again")

    async def stop(self, grace: float) -> int:
        """Cancel the listeners, write no more checkpoints, and wait up to `grace` seconds.

        Returns the number of invocations that still run.
        """
        self.state = "Stopping"
        deadline = asyncio.get_running_loop().time() + grace
        async with self._changing:
            await self._end_completing()
            await self._stop_listeners(grace)
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        running = await self._executor.wait(left)
        if self._factory is not None:
            await self._factory.close()
        return running

    async def _stop_listeners(self, grace: float) -> None:
        listeners, self._listeners = self._listeners, []
        results = await asyncio.gather(
            *(listener.stop(grace) for listener in listeners), return_exceptions=True
        )
        for result in results:
            if isinstance(result, Exception):
                _log.warning(
                    "a listener failed while it stopped; the host stops anyway: %r", result
                )

    async def _end_completing(self) -> None:
        if self._completing is not None:
            self._completing.cancel()
            with suppress(asyncio.CancelledError):
                await self._completing
            self._completing = None
