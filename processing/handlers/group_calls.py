"""Grouped calls: requests that arrive during a call share the next call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence


class GroupedCalls[Item, Reply]:
    """A combination of many requests of concurrent tasks into few calls with many items.

    Args:
        call: takes items in the order of their requests, and returns one reply per item. A reply
            that is an exception is raised in the task that submitted the item. An exception that
            `call` raises is raised in all tasks of the call.
        most: most items in one call.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Reply | Exception]]],
        *,
        most: int = 500,
    ) -> None:
        self._call = call
        self._most = most
        self._waiting: list[tuple[Item, asyncio.Future[Reply]]] = []
        self._caller: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Reply:
        """Submit one item, and return its reply."""
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, reply))
        if self._caller is None:
            self._caller = asyncio.create_task(self._run())
        return await reply

    async def _run(self) -> None:
        group: list[tuple[Item, asyncio.Future[Reply]]] = []
        try:
            while self._waiting:
                await asyncio.sleep(0)  # other ready tasks submit their items first
                group = self._waiting[: self._most]
                del self._waiting[: self._most]
                await self._call_group(group)
        finally:
            self._caller = None
            for _, reply in (*group, *self._waiting):  # only a cancelled run leaves open replies
                reply.cancel()
            self._waiting.clear()

    async def _call_group(self, group: Sequence[tuple[Item, asyncio.Future[Reply]]]) -> None:
        replies: Sequence[Reply | Exception]
        try:
            replies = await self._call([item for item, _ in group])
        except Exception as error:
            replies = [error] * len(group)
        for (_, future), reply in zip(group, replies, strict=True):
            if future.done():  # its task was cancelled during the call
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)
