"""Retries of failed events with tenacity."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Self

from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from processing.event import Event
from processing.formats.event_fields import log_fields
from processing.handlers.failure_line import failure_line
from processing.handlers.failures.classification import Classifier
from processing.handlers.failures.kind import Failure, FailureKind, Verdict
from processing.handlers.raised import as_exception
from processing.settings import ProcessingSettings

logger = logging.getLogger(__name__)

__all__ = ["Failure", "FailureKind", "RetryPolicy", "Verdict"]

type OnFailedAttempt = Callable[[Event, Verdict, Exception], None]
type GivesUp = Callable[[Verdict], bool]
type BeforeRetry = Callable[[], Awaitable[None]]
type Pause = Callable[[float], Awaitable[None]]


def _never(_verdict: Verdict) -> bool:
    return False


async def _nothing() -> None:
    return


class RetryPolicy:
    """A retry policy: exponential backoff with jitter, and a bounded number of attempts.

    Args:
        max_attempts: number of attempts, including the first attempt.
        initial_seconds: pause after the first failure; each further pause is twice as long.
        max_seconds: longest pause. An error that names a longer pause ends the attempts.
        dependency_errors: dotted names of further exceptions that count as a dependency outage.
        poison_errors: dotted names of exceptions that mean the event can never succeed.
        sleep: pauses between attempts.
        on_failed_attempt: called after each failed attempt, with what its error means.
        clock: returns the time in seconds since 1970.
    """

    def __init__(
        self,
        *,
        max_attempts: int,
        initial_seconds: float,
        max_seconds: float,
        dependency_errors: Iterable[str] = (),
        poison_errors: Iterable[str] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_failed_attempt: OnFailedAttempt = lambda _event, _verdict, _error: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._classifier = Classifier(
            dependency_errors=dependency_errors, poison_errors=poison_errors, clock=clock
        )
        self._clock = clock
        self._on_failed_attempt = on_failed_attempt
        self._max_seconds = max_seconds
        self._stop = stop_after_attempt(max_attempts)
        self._wait = wait_exponential_jitter(
            multiplier=initial_seconds, max=max_seconds, jitter=initial_seconds
        )
        self._retrying = AsyncRetrying(sleep=sleep, reraise=True)

    @classmethod
    def from_settings(
        cls,
        settings: ProcessingSettings,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_failed_attempt: OnFailedAttempt = lambda _event, _verdict, _error: None,
    ) -> Self:
        """Return the policy that the settings describe."""
        return cls(
            max_attempts=settings.max_attempts,
            initial_seconds=settings.retry_initial_seconds,
            max_seconds=settings.retry_max_seconds,
            dependency_errors=settings.dependency_errors,
            poison_errors=settings.poison_errors,
            sleep=sleep,
            on_failed_attempt=on_failed_attempt,
        )

    async def run(
        self,
        handle: Callable[[Event], Awaitable[None]],
        event: Event,
        gives_up: GivesUp = _never,
        before_retry: BeforeRetry = _nothing,
        pause: Pause | None = None,
    ) -> Failure | None:
        """Handle the event, with retries; return its failure, or None if it succeeded.

        Whatever the handler raises is a failure of the event. Errors are distinguished by who
        raised them and not by their type, because a handler may raise the errors of this package.

        Args:
            handle: the handler.
            event: the event.
            gives_up: called after each failed attempt with what its error means; returns whether
                the attempts end.
            before_retry: awaited before each attempt but the first; its errors end the attempts and
                are raised.
            pause: pauses between two attempts, instead of the policy's own `sleep`.

        Raises:
            ShutdownError: the instance shuts down, or the invocation's time is used up, before the
                next attempt; the event is unfinished.
            BaseException: any other error that ended a pause; the event is unfinished.
        """
        started = self._clock()
        try:
            await handle(event)
        except BaseException as error:
            first_error = as_exception(error)
        else:
            return None
        # Outside of the `except` block: otherwise the errors of all later attempts would have the
        # first error as their context, and would be classified by it.
        return await self._retry(
            handle, event, first_error, started, (gives_up, before_retry, pause)
        )

    async def _retry(
        self,
        handle: Callable[[Event], Awaitable[None]],
        event: Event,
        first_error: Exception,
        started: float,
        hooks: tuple[GivesUp, BeforeRetry, Pause | None],
    ) -> Failure | None:
        # tenacity is used only after a failure: on the healthy path it would cost more than all
        # other steps. tenacity's first attempt raises the error of the attempt that already failed.
        attempts, last_attempt, last_error = 0, started, first_error
        gives_up, before_retry, pause = hooks
        interruption: Exception | None = None
        verdict = self._failed(event, 1, first_error)

        async def attempt() -> None:
            nonlocal attempts, last_attempt, last_error, verdict, interruption
            if attempts == 0:
                attempts = 1
                raise first_error
            try:
                await before_retry()
            except Exception as error:
                interruption = error  # not the handler's error, which would be retried
                return
            attempts += 1
            last_attempt = self._clock()
            try:
                await handle(event)
            except BaseException as error:
                last_error = as_exception(error)
                verdict = self._failed(event, attempts, last_error)
                if last_error is error:
                    raise
                raise last_error from error

        def retries(state: RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome is not None else None
            return error is last_error and verdict.kind.retries

        def pauses(state: RetryCallState) -> float:
            # A retry before the time that the error names would be in vain, and a burden.
            return max(self._wait(state), verdict.retry_after or 0)

        def stops(state: RetryCallState) -> bool:
            if state.upcoming_sleep > self._max_seconds or self._stop(state):
                return True
            return gives_up(verdict)

        try:
            await self._retrying.copy(
                wait=pauses, retry=retries, stop=stops, sleep=pause or self._retrying.sleep
            )(attempt)
        except Exception as error:
            if error is not last_error:
                raise  # the pause ended with an error of the invocation; the event has not failed
            return Failure(
                verdict.kind,
                last_error,
                attempts,
                started,
                last_attempt,
                verdict.retry_after,
                verdict.dependency,
            )
        if interruption is not None:
            raise interruption
        return None

    def _failed(self, event: Event, attempt: int, error: Exception) -> Verdict:
        """Judge, log and report a failed attempt."""
        verdict = self._classifier.judge(error)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "Attempt %s at event %s failed as %s: %s",
                *(attempt, event.id, verdict.kind.name.lower(), failure_line(event, error)),
                extra=log_fields(event),
            )
        self._on_failed_attempt(event, verdict, error)
        return verdict

    def classify(self, error: Exception) -> FailureKind:
        """Return the kind of failure that an error means; see `Classifier.judge`."""
        return self._classifier.judge(error).kind
