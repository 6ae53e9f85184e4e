"""What the lanes of one invocation share: its hold, its writes, and whether one is under way."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from functools import partial

from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_random_exponential

from breaker import StoreUnavailableError
from processing.batch.gate import Hold
from processing.batch.parts import LaneParts
from processing.errors import StorageUnavailableError
from processing.event import Source
from processing.parking.batch import BatchParking
from processing.progress.group_commit import BatchProgress

logger = logging.getLogger(__name__)


class BatchRun:
    """What the lanes of one invocation share."""

    def __init__(self, parts: LaneParts, source: Source) -> None:
        self.parts = parts
        self.source = source
        self.hold = Hold(parts.settings.hold_seconds)
        self.parking: BatchParking | None = None  # None: a key goes on after a poisoned event
        self.progress: BatchProgress | None = None  # None: it is not opened yet
        self._writes = 0
        # Failures are counted once per exhaustion: an event that fails again in a later invocation
        # has failed again, so the invocation is part of a failure's name.
        self.nonce = secrets.token_hex(4)

    @property
    def writing(self) -> bool:
        """Whether a write that must not be lost is under way, or about to be."""
        return self._writes > 0 or (self.progress is not None and self.progress.writing)

    async def persist[**P, T](
        self, write: Callable[P, Awaitable[T]], *args: P.args, **options: P.kwargs
    ) -> T:
        """Call `write` until it succeeds, for as long as an invocation may be held.

        Raises:
            StorageUnavailableError: it did not succeed in that time.
            ShutdownError: it did not succeed at once, and the instance is stopping.
        """
        self._writes += 1
        try:
            return await self._persist(partial(write, *args, **options))
        finally:
            self._writes -= 1

    async def _persist[T](self, write: Callable[[], Awaitable[T]]) -> T:
        try:
            return await write()
        except (StorageUnavailableError, StoreUnavailableError) as error:
            logger.warning("Partition %s holds: %s", self.source, error)
        gate = self.parts.gate
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((StorageUnavailableError, StoreUnavailableError)),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(self.parts.settings.hold_seconds),
            sleep=gate.pause,
        )

        async def attempt() -> T:  # tenacity awaits only what is plainly a coroutine function
            return await write()

        try:
            return await retrying(attempt)
        except RetryError as error:
            cause = error.last_attempt.exception()
            raise StorageUnavailableError(f"gave up for now: {cause}") from cause

    async def report_successes(self, handled: int) -> None:
        """Tell the breaker of a batch's successes, for its ratio rule; once per batch."""
        permit = self.parts.gate.try_admit(self.hold)
        if handled and permit is not None:
            try:
                await self.parts.breaker.record_successes(handled, permit)
            except StoreUnavailableError as error:
                logger.warning("Successes of %s are not counted: %s", self.source, error)
