"""Answers of the hub's management, which can be slow or fail."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from processing.errors import StorageUnavailableError
from processing.partitions.hub_created import HubCreated
from processing.partitions.hub_range import HubRange
from processing.partitions.recreated import HubFacts

ANSWER_SECONDS = 10.0
"""Time for which a batch waits for an answer of the hub; then the batch holds."""
FRESH_SECONDS = 15.0
"""Age of the known time of creation from which a batch asks again in the background."""


class Hub(Protocol):
    """The management of a hub; `HubPositions` is one.

    Each method raises `StorageUnavailableError` if the hub does not answer.
    """

    async def created_ms(self) -> int: ...  # noqa: D102

    async def range(self, partition: str) -> HubRange: ...  # noqa: D102


class HubAnswers:
    """The answers of one hub to one instance.

    A request that times out is not cancelled, because a cancelled request leaves its connection
    open. The next caller waits for the same request.

    Args:
        hub: the management of the hub.
        created: the time of the hub's creation, which the survey also reads; None: a new one.
        seconds: time for which a caller waits for an answer.
        clock: returns seconds that never decrease.
    """

    def __init__(
        self,
        hub: Hub,
        created: HubCreated | None = None,
        *,
        seconds: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._seconds = seconds
        self._clock = clock
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._ranges: dict[str, HubRange] = {}
        self._asked = -math.inf
        self._created = created or HubCreated(hub.created_ms, clock=clock)

    @property
    def created_ms(self) -> int:
        """The latest known time of the hub's creation, ms since 1970; 0: none is known."""
        return self._created.created_ms

    @property
    def age(self) -> float:
        """Seconds since the time of creation was asked last, with or without an answer."""
        return min(self._clock() - self._asked, self._created.age)

    def lacks(self, seconds: float) -> bool:
        """Return whether the hub has not answered in the last `seconds`.

        A request that failed in this time counts as an answer; a running request does not. So a hub
        that does not answer is not asked again for each batch.
        """
        return self._created.age > seconds and (
            self._clock() - self._asked > seconds or "" in self._asking
        )

    async def created(self) -> int:
        """Ask for the time of creation; callers at the same time share one request.

        Raises:
            StorageUnavailableError: the hub did not answer in time.
        """
        await self._answer(self._ask("", self._read_created))
        return self.created_ms

    def refresh(self) -> None:
        """Ask for the time of creation in the background."""
        self._ask("", self._read_created)

    async def facts(self, partition: str) -> HubFacts:
        """Ask for the time of creation and a partition's range, not earlier than this call.

        Raises:
            StorageUnavailableError: the hub did not answer in time.
        """
        for pending in (self._asking.get(""), self._asking.get(partition)):
            if pending is not None:  # its answer may be older than the caller's batch
                await self._answer(pending)

        async def read_range() -> None:
            self._ranges[partition] = await self._hub.range(partition)

        # The range is asked last, so that it does not belong to an earlier hub.
        created_ms = await self.created()
        await self._answer(self._ask(partition, read_range))
        return HubFacts(created_ms, self._ranges[partition])

    async def aclose(self) -> None:
        """Cancel all requests."""
        asking = list(self._asking.values())
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _read_created(self) -> None:
        self._asked = self._clock()
        self._created.note(await self._hub.created_ms())

    def _ask(self, name: str, question: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        asking = self._asking.get(name)
        if asking is None:

            async def ask() -> None:
                try:
                    await question()
                finally:
                    del self._asking[name]

            asking = self._asking[name] = asyncio.create_task(ask(), name="processing-hub")
            asking.add_done_callback(_retrieve)
        return asking

    async def _answer(self, asking: asyncio.Task[None]) -> None:
        await asyncio.wait({asking}, timeout=self._seconds)
        if not asking.done():
            raise StorageUnavailableError(f"event hub: no answer within {self._seconds:g} s")
        if asking.cancelled():
            raise StorageUnavailableError("event hub: the request was cancelled")
        asking.result()


def _retrieve(asking: asyncio.Task[None]) -> None:
    if not asking.cancelled():
        asking.exception()  # a refresh has no caller
