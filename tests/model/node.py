"""A process of the model: it can stand still, and it can die at any of its waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar, copy_context
from functools import partial
from inspect import iscoroutinefunction
from random import Random
from typing import TYPE_CHECKING, Any

from processing.errors import StorageUnavailableError
from processing.parking.store import Claim
from tests.model.sink import INVOCATION

if TYPE_CHECKING:
    from tests.model.cluster import Service
    from tests.model.plan import Network

_NODE: ContextVar[Node | None] = ContextVar("node", default=None)

LATE_SECONDS = 3.0
"""Longest time after which a request of a call that timed out is still executed."""


class Node:
    """A process: an instance of the app, or an operator's command.

    Attributes:
        stumbles: whether the process may stand still before a call; a command line does not.
        dead: no later step of the process happens.
        frozen_until: the process stands still until then, by the loop's clock.
    """

    def __init__(self, name: str, rng: Random, network: Network) -> None:
        self.name = name
        self.rng = rng
        self.network = network
        self.stumbles = True
        self.dead = False
        self.frozen_until = 0.0

    def start[T](self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that belongs to the process, as do all tasks that the task starts."""
        context = copy_context()
        context.run(_NODE.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    async def wait(self, seconds: float) -> None:
        """Let time pass, at least until the process is no longer frozen.

        Raises:
            CancelledError: the process is dead.
        """
        await asyncio.sleep(seconds)
        now = asyncio.get_running_loop().time
        while (left := self.frozen_until - now()) > 0:
            await asyncio.sleep(left)
        if self.dead:
            raise asyncio.CancelledError

    def freeze(self, seconds: float) -> None:
        """Let the process stand still, unless it does already."""
        now = asyncio.get_running_loop().time()
        if now >= self.frozen_until:
            self.frozen_until = now + seconds

    def kill(self) -> None:
        """End the process: its tasks are cancelled, and none of their steps has an effect."""
        self.dead = True
        self.frozen_until = 0.0
        for task in asyncio.all_tasks():
            if task.get_context().get(_NODE) is self and not task.done():
                task.cancel()

    async def travel(self) -> None:
        """Let the time of one way to or from a store pass."""
        await self.wait(self.rng.random() * self.network.latency)


class Remote:
    """A store behind a network: answers take time, get lost, and may come after their caller died.

    Args:
        node: the process that calls.
        cluster: the server that holds the store.
        target: the store.
        confirmed: the names of the methods whose write a replica must confirm.
    """

    def __init__(
        self,
        node: Node,
        cluster: Service,
        target: object,
        confirmed: frozenset[str] = frozenset(),
    ) -> None:
        self._node = node
        self._cluster = cluster
        self._target = target
        self._confirmed = confirmed

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if not iscoroutinefunction(method):
            return method
        confirmed = name in self._confirmed

        async def call(*args: Any, **options: Any) -> Any:
            return await self._call(method, confirmed, args, options)

        self.__dict__[name] = call
        return call

    async def _call(
        self,
        method: Callable[..., Awaitable[Any]],
        confirmed: bool,
        args: tuple[Any, ...],
        options: dict[str, Any],
    ) -> Any:
        node, cluster, network = self._node, self._cluster, self._node.network
        await node.travel()
        cluster.check()
        chance = node.rng.random()
        if chance < network.late:
            late = partial(method, *args, **options)
            cluster.execute_late(late, node.rng.random() * LATE_SECONDS)
            await node.wait(node.rng.random())
            raise StorageUnavailableError("the call timed out; its request may come later")
        if chance < network.late + network.lost / 2:
            raise StorageUnavailableError("the request was lost")
        answer = await method(*args, **options)
        cluster.changed = True
        if confirmed:
            await cluster.confirm()
        await node.travel()
        if node.rng.random() < network.lost / 2:
            raise StorageUnavailableError("the answer was lost")
        if isinstance(answer, Claim) and (invocation := INVOCATION.get()) is not None:
            invocation.owner = answer.owner
        return answer
