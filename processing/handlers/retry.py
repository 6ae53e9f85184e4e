"""How a failed event is tried again, by tenacity, and what its failure means."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from processing.errors import DependencyUnavailableError, PoisonEventError, ShutdownError
from processing.event import Event
from processing.settings import ProcessingSettings

# Connection and timeout errors of the usual clients, by dotted name so that none need be
# installed. Subclasses count as well. Some names say a little more than that: a client that has one
# name for a server that is away and for a call that it refuses (redis-py on a cluster, drivers with
# an OperationalError) is taken to mean the first, for an event that is kept is not lost.
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
    """What a failure says."""

    POISON = auto()  # the event can never succeed
    EXHAUSTED = auto()  # it failed as often as it may
    DEPENDENCY = auto()  # something it depends on is down; the event is kept


@dataclass(frozen=True, slots=True)
class Failure:
    """An event's failure after all its attempts; times in seconds since 1970."""

    kind: FailureKind
    error: Exception
    attempts: int
    first_attempt: float
    last_attempt: float


class RetryPolicy:
    """Exponential backoff with jitter, a bounded number of attempts.

    Args:
        max_attempts: all attempts, the first included.
        initial_seconds: pause after the first failure, doubled after each further one.
        max_seconds: longest pause.
        dependency_errors: dotted names of further exception types that mean that a dependency
            is down.
        sleep: how to pause; tests pass their own.
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
            retry=retry_if_exception(_worth_another_try),
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
        """Handle the event, again if need be; None when it succeeded.

        Raises:
            ShutdownError: the instance stops before the next attempt; the event is unfinished.
        """
        started = self._clock()
        try:
            await handle(event)
        except BaseException as error:
            return await self._again(handle, event, _failed_with(error), started)
        return None

    async def _again(
        self,
        handle: Callable[[Event], Awaitable[None]],
        event: Event,
        first_error: Exception,
        started: float,
    ) -> Failure | None:
        # tenacity comes in only here: on the healthy path it would cost more than the rest.
        # It counts the attempt that was made already as its first.
        attempts, last_attempt = 0, started

        async def attempt() -> None:
            nonlocal attempts, last_attempt
            attempts += 1
            if attempts == 1:
                raise first_error
            last_attempt = self._clock()
            try:
                await handle(event)
            except Exception:
                raise
            except BaseException as error:
                raise _failed_with(error) from error

        try:
            await self._retrying.copy()(attempt)
        except ShutdownError:  # a pause between attempts was cut short; the event has not failed
            raise
        except Exception as error:
            return Failure(self.classify(error), error, attempts, started, last_attempt)
        return None

    def classify(self, error: Exception) -> FailureKind:
        """What this error, as an event's last, says.

        Of a group, as a handler's `asyncio.TaskGroup` raises it, a verdict counts first. Else one
        dependency that is down is enough: what the others say may be its doing.
        """
        if isinstance(error, ExceptionGroup):
            kinds = {self.classify(each) for each in error.exceptions}
            return min(kinds, key=(FailureKind.POISON, FailureKind.DEPENDENCY, *kinds).index)
        if isinstance(error, PoisonEventError):
            return FailureKind.POISON
        if isinstance(error, DependencyUnavailableError):
            return FailureKind.DEPENDENCY
        names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
        if names & self._dependency_errors:
            return FailureKind.DEPENDENCY
        return FailureKind.EXHAUSTED


def describe(error: BaseException) -> str:
    """The error's text; a class of one's own may fail even at that."""
    try:
        return str(error)
    except Exception as broken:
        return f"(its text can't be had: {type(broken).__name__})"


def _failed_with(error: BaseException) -> Exception:
    """What a handler failed with, as an ordinary error.

    A handler that awaits something that was cancelled, a library that calls `sys.exit` or has an
    exception of its own kind beside `Exception`, has failed like any other; left alone, the first
    would end its lane without a word, the second the whole instance, and the third would tear the
    other lanes apart, each time anew. The cancellation of this very task is no failure and goes on,
    and so does Ctrl-C.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        raise error
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error
    failure = RuntimeError(f"the handler ended with {type(error).__name__}: {describe(error)}")
    failure.__cause__ = error
    return failure


def _worth_another_try(error: BaseException) -> bool:
    if isinstance(error, ExceptionGroup):
        return all(map(_worth_another_try, error.exceptions))
    return isinstance(error, Exception) and not isinstance(error, PoisonEventError)
