"""The state that the lanes of one invocation share: hold, writes, parking and progress."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_random_exponential

from breaker import StoreUnavailableError
from processing.batch.gate import Hold
from processing.batch.parts import LaneParts
from processing.errors import StorageUnavailableError
from processing.identity import Source
from processing.parking.batch import BatchParking
from processing.progress.group_commit import BatchProgress

logger = logging.getLogger(__name__)


class BatchRun:
    """The state that the lanes of one invocation share."""

    def __init__(self, parts: LaneParts, source: Source) -> None:
        self.parts = parts
        self.source = source
        self.hold = Hold(parts.settings.hold_seconds, source.partition)
        self.parking: BatchParking | None = None  # None: a key continues after a poisoned event
        self.progress: BatchProgress | None = None  # None: not opened yet
        self._writes = 0

    @property
    def writing(self) -> bool:
        """Return whether a write that must not be lost is in progress or due."""
        return self._writes > 0 or (self.progress is not None and self.progress.writing)

    async def persist[*Ts, T](self, write: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Call `write` until it succeeds, for at most `hold_seconds`.

        Raises:
            StorageUnavailableError: no call succeeded in that time.
            ShutdownError: the first call failed, and the instance is shutting down.
        """
        self._writes += 1
        try:
            return await self._retry_write(write, args)
        finally:
            self._writes -= 1

    async def _retry_write[*Ts, T](
        self, write: Callable[[*Ts], Awaitable[T]], args: tuple[*Ts]
    ) -> T:
        try:
            return await write(*args)
        except (StorageUnavailableError, StoreUnavailableError) as error:
            logger.warning(
                "Partition %s: a store failed: %s: %s; the call is retried for up to %g s",
                *(self.source, type(error).__name__, error, self.parts.settings.hold_seconds),
            )
        gate = self.parts.gate
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((StorageUnavailableError, StoreUnavailableError)),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(self.parts.settings.hold_seconds),
            sleep=gate.pause,
        )

        async def attempt() -> T:  # tenacity awaits only coroutine functions
            return await write(*args)

        try:
            return await retrying(attempt)
        except RetryError as error:
            cause = error.last_attempt.exception()
            raise StorageUnavailableError(
                f"no call of the store succeeded for {self.parts.settings.hold_seconds:g} s; the "
                f"batch fails and runs again; last error: {cause}"
            ) from cause

    async def report_successes(self, handled: int) -> None:
        """Record a batch's successes in the circuit, for its failure ratio; once per batch."""
        permit = self.parts.gate.permit(self.hold)
        if handled and permit is not None:
            try:
                await self.parts.breaker.record_successes(handled, permit)
            except StoreUnavailableError as error:
                logger.warning(
                    "Partition %s: %s successes were not recorded in the circuit: %s: %s; "
                    "they are missing in its failure ratio",
                    *(self.source, handled, type(error).__name__, error),
                )
