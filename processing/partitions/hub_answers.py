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
REQUEST_SECONDS = 60.0
"""Time after which a request without an answer is cancelled; the next caller asks again."""
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

    A caller that times out does not cancel its request, because a cancelled request leaves its
    connection open. The next caller waits for the same request. A request that hangs is cancelled
    in the end, and the next caller asks again.

    Args:
        hub: the management of the hub.
        created: the time of the hub's creation, which the survey also reads; None: a new one.
        seconds: time for which a caller waits for an answer.
        request_seconds: time after which a request without an answer is cancelled.
        clock: returns seconds that never decrease.
    """

    def __init__(
        self,
        hub: Hub,
        created: HubCreated | None = None,
        *,
        seconds: float = ANSWER_SECONDS,
        request_seconds: float = REQUEST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._seconds = seconds
        self._request_seconds = request_seconds
        self._clock = clock
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._overdue: set[str] = set()
        self._answered_ms = 0
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

    @property
    def overdue(self) -> bool:
        """True if a caller has timed out on the pending request for the time of creation."""
        return "" in self._overdue

    async def created(self, *, seconds: float = math.inf) -> int:
        """Ask for the time of creation; callers at the same time share one request.

        Args:
            seconds: time for which this caller waits, at most the time for all callers.

        Raises:
            StorageUnavailableError: the hub did not answer in time.
        """
        self._ask("", self._read_created)
        await self._answer("", min(seconds, self._seconds))
        return self._answered_ms

    async def created_now(self) -> int:
        """Ask for the time of creation, not earlier than this call.

        Raises:
            StorageUnavailableError: the hub did not answer in time.
        """
        if "" in self._asking:  # its answer may be older than the caller's batch
            await self._answer("", self._seconds)
        return await self.created()

    def refresh(self) -> None:
        """Ask for the time of creation in the background."""
        self._ask("", self._read_created)

    async def facts(self, partition: str) -> HubFacts:
        """Ask for the time of creation and a partition's range, not earlier than this call.

        Raises:
            StorageUnavailableError: the hub did not answer in time.
        """
        if partition in self._asking:  # its answer may be older than the caller's batch
            await self._answer(partition, self._seconds)

        async def read_range() -> None:
            self._ranges[partition] = await self._hub.range(partition)

        # The range is asked last, so that it does not belong to an earlier hub.
        created_ms = await self.created_now()
        self._ask(partition, read_range)
        await self._answer(partition, self._seconds)
        return HubFacts(created_ms, self._ranges[partition])

    async def aclose(self) -> None:
        """Cancel all requests."""
        asking = list(self._asking.values())
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _read_created(self) -> None:
        self._asked = self._clock()
        self._answered_ms = await self._hub.created_ms()
        self._created.note(self._answered_ms)

    def _ask(self, name: str, question: Callable[[], Awaitable[None]]) -> None:
        if name not in self._asking:

            async def ask() -> None:
                try:
                    async with asyncio.timeout(self._request_seconds):
                        await question()
                except TimeoutError as error:
                    raise _unanswered(self._request_seconds) from error
                finally:
                    del self._asking[name]
                    self._overdue.discard(name)

            asking = self._asking[name] = asyncio.create_task(ask(), name="processing-hub")
            asking.add_done_callback(_retrieve)

    async def _answer(self, name: str, seconds: float) -> None:
        asking = self._asking[name]
        await asyncio.wait({asking}, timeout=seconds)
        if not asking.done():
            self._overdue.add(name)
            raise _unanswered(seconds)
        if asking.cancelled():
            raise StorageUnavailableError("event hub: the request was cancelled")
        asking.result()


def _unanswered(seconds: float) -> StorageUnavailableError:
    return StorageUnavailableError(f"event hub: no answer within {seconds:g} s")


def _retrieve(asking: asyncio.Task[None]) -> None:
    if not asking.cancelled():
        asking.exception()  # a refresh has no caller
