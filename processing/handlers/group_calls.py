"""Group commit: what is asked for while a call is under way shares the next call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence


class GroupedCalls[Item, Reply]:
    """Turns many single requests of concurrent tasks into few calls with many items.

    Args:
        call: takes items in the order in which they were asked for and returns a reply for each;
            a reply that is an exception is raised to its asker, and so is an exception that the
            call raises, to all.
        most: the most items in one call.
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
        """Have one item taken along; its reply."""
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, reply))
        if self._caller is None:
            self._caller = asyncio.create_task(self._run())
        return await reply

    async def _run(self) -> None:
        group: list[tuple[Item, asyncio.Future[Reply]]] = []
        try:
            while self._waiting:
                await asyncio.sleep(0)  # whoever else is ready comes along
                group = self._waiting[: self._most]
                del self._waiting[: self._most]
                await self._take(group)
        finally:
            self._caller = None
            for _, reply in (*group, *self._waiting):  # some are left only if this was cancelled
                reply.cancel()
            self._waiting.clear()

    async def _take(self, group: Sequence[tuple[Item, asyncio.Future[Reply]]]) -> None:
        replies: Sequence[Reply | Exception]
        try:
            replies = await self._call([item for item, _ in group])
        except Exception as error:
            replies = [error] * len(group)
        for (_, asker), reply in zip(group, replies, strict=True):
            if asker.done():  # cancelled meanwhile
                continue
            if isinstance(reply, Exception):
                asker.set_exception(reply)
            else:
                asker.set_result(reply)
