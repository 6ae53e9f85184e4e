"""Retries of failed events with tenacity, and the classification of failures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from processing.errors import (
    DependencyUnavailableError,
    FaultyHandlerError,
    PoisonEventError,
    ShutdownError,
)
from processing.event import Event
from processing.handlers.raised import as_exception
from processing.settings import ProcessingSettings

# Connection and timeout errors of the usual clients, by dotted name, so that no client needs to be
# installed. Subclasses also count. Some clients raise the same error for an unreachable server and
# for a refused call (redis-py on a cluster, drivers with an OperationalError). Such an error counts
# as an outage, because a kept event is not lost.
DEPENDENCY_ERRORS = frozenset(
    {
        "builtins.ConnectionError",
        "builtins.TimeoutError",
        "socket.gaierror",
        "aiohttp.client_exceptions.ClientConnectionError",
        "aiohttp.client_exceptions.ClientPayloadError",
        "asyncpg.exceptions.InsufficientResourcesError",
        "asyncpg.exceptions.OperatorInterventionError",
        "asyncpg.exceptions.PostgresConnectionError",
        "azure.core.exceptions.IncompleteReadError",
        "azure.core.exceptions.ServiceRequestError",
        "azure.core.exceptions.ServiceResponseError",
        "azure.cosmos.exceptions.CosmosClientTimeoutError",
        "azure.eventhub.exceptions.ConnectError",
        "azure.eventhub.exceptions.ConnectionLostError",
        "azure.eventhub.exceptions.OperationTimeoutError",
        "azure.servicebus.exceptions.OperationTimeoutError",
        "azure.servicebus.exceptions.ServiceBusCommunicationError",
        "azure.servicebus.exceptions.ServiceBusConnectionError",
        "botocore.exceptions.ConnectionError",
        "botocore.exceptions.HTTPClientError",
        "httpx.TransportError",
        "psycopg.OperationalError",
        "psycopg2.OperationalError",
        "pymongo.errors.ConnectionFailure",
        "pyodbc.OperationalError",
        "redis.exceptions.ClusterError",
        "redis.exceptions.ConnectionError",
        "redis.exceptions.RedisClusterException",
        "redis.exceptions.TimeoutError",
        "requests.exceptions.ChunkedEncodingError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "sqlalchemy.exc.DisconnectionError",
        "sqlalchemy.exc.OperationalError",
        "sqlalchemy.exc.TimeoutError",
    }
)


class FailureKind(Enum):
    """The kind of a failure, which decides what happens to the event."""

    POISON = auto()  # the event can never succeed
    EXHAUSTED = auto()  # all attempts failed
    DEPENDENCY = auto()  # a dependency is down; the event is kept
    THROTTLED = auto()  # a dependency limits the rate of calls; the event is kept
    REFUSED = auto()  # an open circuit refused the call; the event is kept
    FAULTY = auto()  # the handler returned a result that nobody awaits; the event is kept

    @property
    def keeps(self) -> bool:
        """Return whether the event is kept and tried again, instead of going to the poison queue."""
        return self not in (FailureKind.POISON, FailureKind.EXHAUSTED)

    @property
    def counts(self) -> bool:
        """Return whether the circuit counts the failure; poison events have a setting of their own."""
        return self not in (FailureKind.POISON, FailureKind.THROTTLED, FailureKind.REFUSED)


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of an event after all its attempts; times in seconds since 1970."""

    kind: FailureKind
    error: Exception
    attempts: int
    first_attempt: float
    last_attempt: float


class RetryPolicy:
    """A retry policy: exponential backoff with jitter, and a bounded number of attempts.

    Args:
        max_attempts: number of attempts, including the first attempt.
        initial_seconds: pause after the first failure; each further pause is twice as long.
        max_seconds: longest pause.
        dependency_errors: dotted names of further exceptions that count as a dependency outage.
        sleep: pauses between attempts.
        clock: returns the time in seconds since 1970.
    """

    def __init__(
        self,
        *,
        max_attempts: int,
        initial_seconds: float,
        max_seconds: float,
        dependency_errors: Iterable[str] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dependency_errors = DEPENDENCY_ERRORS | frozenset(dependency_errors)
        self._clock = clock
        self._retrying = AsyncRetrying(
            stop=stop_after_attempt(max_attempts),
            wait=wait_exponential_jitter(
                multiplier=initial_seconds, max=max_seconds, jitter=initial_seconds
            ),
            retry=retry_if_exception(_is_retryable),
            sleep=sleep,
            reraise=True,
        )

    @classmethod
    def from_settings(
        cls,
        settings: ProcessingSettings,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> Self:
        """Return the policy that the settings describe."""
        return cls(
            max_attempts=settings.max_attempts,
            initial_seconds=settings.retry_initial_seconds,
            max_seconds=settings.retry_max_seconds,
            dependency_errors=settings.dependency_errors,
            sleep=sleep,
        )

    async def run(self, handle: Callable[[Event], Awaitable[None]], event: Event) -> Failure | None:
        """Handle the event, with retries; return its failure, or None if it succeeded.

        Whatever the handler raises is a failure of the event. Errors are distinguished by who
        raised them and not by their type, because a handler may raise the errors of this package.

        Raises:
            ShutdownError: the instance shuts down before the next attempt; the event is unfinished.
        """
        started = self._clock()
        try:
            await handle(event)
        except BaseException as error:
            return await self._retry(handle, event, as_exception(error), started)
        return None

    async def _retry(
        self,
        handle: Callable[[Event], Awaitable[None]],
        event: Event,
        first_error: Exception,
        started: float,
    ) -> Failure | None:
        # tenacity is used only after a failure: on the healthy path it would cost more than all
        # other steps. tenacity's first attempt raises the error of the attempt that already failed.
        attempts, last_attempt, last_error = 0, started, first_error

        async def attempt() -> None:
            nonlocal attempts, last_attempt, last_error
            attempts += 1
            if attempts == 1:
                raise first_error
            last_attempt = self._clock()
            try:
                await handle(event)
            except BaseException as error:
                last_error = as_exception(error)
                if last_error is error:
                    raise
                raise last_error from error

        try:
            await self._retrying.copy()(attempt)
        except Exception as error:
            if isinstance(error, ShutdownError) and error is not last_error:
                raise  # a shutdown ended the pause; the event has not failed
            return Failure(self._kind(last_error), last_error, attempts, started, last_attempt)
        return None

    def _kind(self, error: Exception) -> FailureKind:
        """Return `classify(error)`, or EXHAUSTED for an error that cannot be read."""
        try:
            return self.classify(error)
        except Exception:
            return FailureKind.EXHAUSTED

    def classify(self, error: Exception) -> FailureKind:
        """Return the kind of failure that an event's last error means.

        In an exception group, for example of an `asyncio.TaskGroup`, a poison verdict counts first.
        Otherwise one dependency outage is enough, because it may have caused the other errors.
        """
        if isinstance(error, ExceptionGroup):
            kinds = {self.classify(each) for each in error.exceptions}
            return min(kinds, key=(FailureKind.POISON, FailureKind.DEPENDENCY, *kinds).index)
        if isinstance(error, PoisonEventError):
            return FailureKind.POISON
        if isinstance(error, DependencyUnavailableError):
            return FailureKind.DEPENDENCY
        if isinstance(error, FaultyHandlerError):
            return FailureKind.FAULTY
        names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
        if names & self._dependency_errors:
            return FailureKind.DEPENDENCY
        return FailureKind.EXHAUSTED


def _is_retryable(error: BaseException) -> bool:
    if isinstance(error, ExceptionGroup):
        return error.subgroup((PoisonEventError, FaultyHandlerError)) is None
    return isinstance(error, Exception) and not isinstance(
        error, PoisonEventError | FaultyHandlerError
    )
