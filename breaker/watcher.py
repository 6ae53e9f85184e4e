"""Keeps an instance's view of the circuit fresh: push first, polling behind it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing

from breaker.clock import Clock
from breaker.errors import StoreUnavailableError
from breaker.state import Circuit, Rules
from breaker.stores.base import CircuitStore

logger = logging.getLogger(__name__)


class Watcher:
    """Two tasks: one listens to pushed states, one asks every `poll_seconds`.

    A push is seen within milliseconds; one that was lost costs at most the polling interval.

    Args:
        store: where to listen.
        rules: for the store.
        learn: takes a pushed state.
        refresh: asks the store; a store that does not answer is its business.
        poll_seconds: the polling interval, and the longest pause before listening again.
        clock: sleeps.
    """

    def __init__(
        self,
        store: CircuitStore,
        rules: Rules,
        *,
        learn: Callable[[Circuit], None],
        refresh: Callable[[], Awaitable[object]],
        poll_seconds: float,
        clock: Clock,
    ) -> None:
        self._store = store
        self._rules = rules
        self._learn = learn
        self._refresh = refresh
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def running(self) -> bool:
        """Whether the view is being kept fresh."""
        return bool(self._tasks)

    def start(self) -> None:
        """Begin; a second call changes nothing."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._repeat(self._listen), name="breaker-push"),
                asyncio.create_task(self._repeat(self._refresh_once), name="breaker-poll"),
            ]

    async def aclose(self) -> None:
        """Stop both tasks."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, step: Callable[[], Coroutine[None, None, None]]) -> None:
        """Repeat a step; nothing that it raises may end the watching, nor keep it from ending.

        An error raised on the way out, where a subscription is given back, takes the place of the
        cancellation; the task itself still knows that it was asked to end.
        """
        while True:
            try:
                await step()
            except StoreUnavailableError as error:
                logger.debug("not watching just now: %s", error)
            except Exception:
                logger.exception("watching the circuit failed; going on")
            if _asked_to_end():
                return
            await self._clock.sleep(self._poll_seconds)

    async def _refresh_once(self) -> None:
        await self._refresh()

    async def _listen(self) -> None:
        async with aclosing(self._store.changes(self._rules)) as changes:
            async for circuit in changes:
                if circuit is None:
                    await self._refresh()
                else:
                    self._learn(circuit)


def _asked_to_end() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
