"""Updates of an instance's view of the circuit, by push and by polling."""

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


class Watching:
    """Two tasks: one listens to pushed states, the other polls every `poll_seconds`.

    A push arrives within milliseconds; the next poll replaces a lost push.

    Args:
        name: name of the circuit or circuits, for messages.
        listen: handles pushed states until the subscription ends.
        poll: polls the store.
        poll_seconds: the polling interval, and the pause before subscribing again.
        clock: sleeps between polls.
    """

    def __init__(
        self,
        name: str,
        *,
        listen: Callable[[], Coroutine[None, None, None]],
        poll: Callable[[], Awaitable[object]],
        poll_seconds: float,
        clock: Clock,
    ) -> None:
        self._name = name
        self._listen = listen
        self._poll = poll
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def running(self) -> bool:
        """Return whether the tasks were started and not closed."""
        return bool(self._tasks)

    def start(self) -> None:
        """Start both tasks; a second call changes nothing."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._repeat(self._listen), name="breaker-push"),
                asyncio.create_task(self._repeat(self._poll_once), name="breaker-poll"),
            ]

    async def aclose(self) -> None:
        """Stop both tasks."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, step: Callable[[], Coroutine[None, None, None]]) -> None:
        """Repeat a step until the task is cancelled; log errors and continue.

        An error while a subscription is closed replaces the CancelledError, so the loop also asks
        the task whether it was cancelled.
        """
        while True:
            try:
                await step()
            except StoreUnavailableError as error:
                logger.debug("%s; next attempt in %g s", error, self._poll_seconds)
            except Exception:
                logger.exception(
                    "watching circuit %s failed; next attempt in %g s",
                    self._name,
                    self._poll_seconds,
                )
            if _is_cancelled():
                return
            await self._clock.sleep(self._poll_seconds)

    async def _poll_once(self) -> None:
        await self._poll()


class Watcher(Watching):
    """The tasks that watch one circuit.

    Args:
        store: the store that pushes states.
        rules: the circuit's rules.
        learn: called with each pushed state.
        refresh: polls the store; handles a store that does not answer.
        poll_seconds: the polling interval, and the pause before subscribing again.
        clock: sleeps between polls.
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
        super().__init__(
            store.name,
            listen=self._learn_pushes,
            poll=refresh,
            poll_seconds=poll_seconds,
            clock=clock,
        )

    async def _learn_pushes(self) -> None:
        async with aclosing(self._store.changes(self._rules)) as changes:
            async for circuit in changes:
                if circuit is None:
                    await self._poll()
                else:
                    self._learn(circuit)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
