"""Writes of replays that must not be lost."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_random_exponential

from breaker import StoreUnavailableError
from processing.errors import StorageUnavailableError

logger = logging.getLogger(__name__)

UNAVAILABLE = (StorageUnavailableError, StoreUnavailableError)
"""Errors of a store that does not answer; a repeat may succeed."""


class Writes:
    """The writes of replays, each of which is repeated until it succeeds.

    Args:
        seconds: longest time for which a write is repeated.
        pause: pauses between two calls; raises `ShutdownError` while the instance shuts down.
    """

    def __init__(self, seconds: float, pause: Callable[[float], Awaitable[None]]) -> None:
        self._seconds = seconds
        self._pause = pause
        self._running = 0

    @property
    def writing(self) -> bool:
        """Return whether a write is in progress."""
        return self._running > 0

    async def persist[*Ts, T](self, write: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Call `write` until it succeeds, and return its result.

        Raises:
            StorageUnavailableError: no call succeeded in that time.
            ShutdownError: the first call failed, and the instance is shutting down.
        """
        self._running += 1
        try:
            return await write(*args)
        except UNAVAILABLE as error:
            logger.warning(
                "A store failed during a replay: %s: %s; the call is retried for up to %g s",
                *(type(error).__name__, error, self._seconds),
            )
            return await self._repeat(write, args)
        finally:
            self._running -= 1

    async def _repeat[*Ts, T](self, write: Callable[[*Ts], Awaitable[T]], args: tuple[*Ts]) -> T:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(UNAVAILABLE),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(self._seconds),
            sleep=self._pause,
        )

        async def attempt() -> T:  # tenacity awaits only coroutine functions
            return await write(*args)

        try:
            return await retrying(attempt)
        except RetryError as error:
            cause = error.last_attempt.exception()
            raise StorageUnavailableError(
                f"no call of the store succeeded for {self._seconds:g} s; last error: {cause}"
            ) from cause
