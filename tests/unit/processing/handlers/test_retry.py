"""Attempts and pauses of RetryPolicy, and its classification of errors."""

from __future__ import annotations

import asyncio
import signal
import socket

import aiohttp
import azure.core.exceptions
import azure.eventhub.exceptions
import httpx
import pytest
import redis
import requests

from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
from processing.handlers.retry import Failure, FailureKind, RetryPolicy
from tests.support.processing.events import event


class Sleeps(list[float]):
    """A sleep function that records its pauses."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


class Failing:
    """A handler that raises the given errors in turn, then succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self, _event: Event) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


def policy(sleep: Sleeps, **values: float) -> RetryPolicy:
    times = iter(range(1000))
    return RetryPolicy(
        max_attempts=int(values.get("max_attempts", 4)),
        initial_seconds=1.0,
        max_seconds=3.0,
        sleep=sleep,
        clock=lambda: float(next(times)),
    )


async def test_successful_event_has_one_call_and_no_pause() -> None:
    """The policy returns no failure."""
    sleeps, handler = Sleeps(), Failing()
    assert await policy(sleeps).run(handler, event(1)) is None
    assert (handler.calls, sleeps) == (1, [])


async def test_event_that_succeeds_within_its_attempts_has_not_failed() -> None:
    """The policy pauses between the attempts and returns no failure."""
    sleeps, handler = Sleeps(), Failing(RuntimeError("a"), RuntimeError("b"))
    assert await policy(sleeps).run(handler, event(1)) is None
    assert handler.calls == 3
    assert len(sleeps) == 2


async def test_exhausted_attempts_return_the_last_error() -> None:
    """max_attempts includes the first call; pauses double, with jitter, up to the maximum."""
    sleeps, last = Sleeps(), RuntimeError("last")
    handler = Failing(*[RuntimeError("x")] * 3, last)
    failure = await policy(sleeps).run(handler, event(1))
    assert failure == Failure(FailureKind.EXHAUSTED, last, 4, 0.0, 3.0)
    assert handler.calls == 4
    first, second, third = sleeps
    assert 1 <= first <= 2
    assert 2 <= second <= 3
    assert third == 3


async def test_poison_is_not_retried() -> None:
    """PoisonEventError ends the attempts, from the first call as well as from a later call."""
    sleeps = Sleeps()
    failure = await policy(sleeps).run(Failing(PoisonEventError("bad")), event(1))
    assert failure is not None
    assert (failure.kind, failure.attempts, sleeps) == (FailureKind.POISON, 1, [])
    failure = await policy(sleeps).run(Failing(RuntimeError(), PoisonEventError("bad")), event(1))
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.POISON, 2)


@pytest.mark.parametrize(
    "error",
    [
        DependencyUnavailableError("down"),
        ConnectionResetError(),
        TimeoutError(),
        redis.exceptions.ConnectionError(),
        redis.exceptions.BusyLoadingError(),
        redis.exceptions.RedisClusterException(),
        redis.exceptions.SlotNotCoveredError(),
        redis.exceptions.ClusterDownError("CLUSTERDOWN The cluster is down"),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("silent"),
        httpx.RemoteProtocolError("hung up"),
        requests.exceptions.ConnectionError(),
        requests.exceptions.ReadTimeout(),
        requests.exceptions.ChunkedEncodingError(),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientOSError(),
        aiohttp.ClientPayloadError(),
        azure.core.exceptions.ServiceRequestError("refused"),
        azure.core.exceptions.ServiceResponseTimeoutError("silent"),
        azure.core.exceptions.IncompleteReadError("hung up"),
        azure.eventhub.exceptions.ConnectError("refused"),
        azure.eventhub.exceptions.ConnectionLostError("hung up"),
        azure.eventhub.exceptions.OperationTimeoutError("silent"),
        socket.gaierror(),
        ExceptionGroup("group", [DependencyUnavailableError("down")]),
        ExceptionGroup("group", [LookupError(), ExceptionGroup("inner", [TimeoutError()])]),
    ],
    ids=repr,
)
async def test_connection_and_timeout_errors_are_dependency_failures(error: Exception) -> None:
    """The errors are those of common clients, alone or in an ExceptionGroup."""
    failure = await policy(Sleeps(), max_attempts=1).run(Failing(error), event(1))
    assert failure is not None
    assert failure.kind is FailureKind.DEPENDENCY


# Class names of the errors of clients that are not installed here; an error's own class is first.
# The errors were observed with a refused connection, a silent server and a closed connection, or
# are declared in the modules of asyncpg 0.32.0, azure-cosmos 4.17.1, azure-servicebus 7.15.0,
# botocore 1.44.8, psycopg 3.3.9, psycopg2 2.9.13, pymongo 4.20.1, SQLAlchemy 2.1.9.
DEPENDENCY_FAILURES = {
    "asyncpg, connection closed": (
        "asyncpg.exceptions.ConnectionDoesNotExistError",
        "asyncpg.exceptions.PostgresConnectionError",
        "asyncpg.exceptions._base.PostgresError",
    ),
    "asyncpg, server is starting": (
        "asyncpg.exceptions.CannotConnectNowError",
        "asyncpg.exceptions.OperatorInterventionError",
        "asyncpg.exceptions._base.PostgresError",
    ),
    "asyncpg, too many connections": (
        "asyncpg.exceptions.TooManyConnectionsError",
        "asyncpg.exceptions.InsufficientResourcesError",
        "asyncpg.exceptions._base.PostgresError",
    ),
    "Cosmos, no answer": (
        "azure.cosmos.exceptions.CosmosClientTimeoutError",
        "azure.core.exceptions.AzureError",
    ),
    "Service Bus, refused": (
        "azure.servicebus.exceptions.ServiceBusConnectionError",
        "azure.servicebus.exceptions.ServiceBusError",
        "azure.core.exceptions.AzureError",
    ),
    "Service Bus, broken link": (
        "azure.servicebus.exceptions.ServiceBusCommunicationError",
        "azure.servicebus.exceptions.ServiceBusError",
        "azure.core.exceptions.AzureError",
    ),
    "Service Bus, no answer": (
        "azure.servicebus.exceptions.OperationTimeoutError",
        "azure.servicebus.exceptions.ServiceBusError",
        "azure.core.exceptions.AzureError",
    ),
    "botocore, refused": (
        "botocore.exceptions.EndpointConnectionError",
        "botocore.exceptions.ConnectionError",
        "botocore.exceptions.BotoCoreError",
    ),
    "botocore, no answer": (
        "botocore.exceptions.ReadTimeoutError",
        "botocore.exceptions.HTTPClientError",
        "botocore.exceptions.BotoCoreError",
    ),
    "botocore, connection closed": (
        "botocore.exceptions.ConnectionClosedError",
        "botocore.exceptions.HTTPClientError",
        "botocore.exceptions.BotoCoreError",
    ),
    "psycopg, no answer": (
        "psycopg.errors.ConnectionTimeout",
        "psycopg.OperationalError",
        "psycopg.DatabaseError",
        "psycopg.Error",
    ),
    "psycopg2, refused": (
        "psycopg2.OperationalError",
        "psycopg2.DatabaseError",
        "psycopg2.Error",
    ),
    "pymongo, refused": (
        "pymongo.errors.ServerSelectionTimeoutError",
        "pymongo.errors.AutoReconnect",
        "pymongo.errors.ConnectionFailure",
        "pymongo.errors.PyMongoError",
    ),
    "pymongo, empty pool": (
        "pymongo.errors.WaitQueueTimeoutError",
        "pymongo.errors.ConnectionFailure",
        "pymongo.errors.PyMongoError",
    ),
    "SQLAlchemy, refused": (
        "sqlalchemy.exc.OperationalError",
        "sqlalchemy.exc.DatabaseError",
        "sqlalchemy.exc.DBAPIError",
        "sqlalchemy.exc.SQLAlchemyError",
    ),
    "SQLAlchemy, empty pool": (
        "sqlalchemy.exc.TimeoutError",
        "sqlalchemy.exc.SQLAlchemyError",
    ),
    "SQLAlchemy, dead connection": (
        "sqlalchemy.exc.DisconnectionError",
        "sqlalchemy.exc.SQLAlchemyError",
    ),
}
REFUSED = {
    "asyncpg": (
        "asyncpg.exceptions.UniqueViolationError",
        "asyncpg.exceptions.IntegrityConstraintViolationError",
        "asyncpg.exceptions._base.PostgresError",
    ),
    "Service Bus": (
        "azure.servicebus.exceptions.MessageSizeExceededError",
        "azure.servicebus.exceptions.ServiceBusError",
        "azure.core.exceptions.AzureError",
    ),
    "botocore": ("botocore.exceptions.ClientError",),
    "psycopg": ("psycopg.errors.UniqueViolation", "psycopg.IntegrityError", "psycopg.Error"),
    "psycopg2": ("psycopg2.errors.UniqueViolation", "psycopg2.IntegrityError", "psycopg2.Error"),
    "pymongo": (
        "pymongo.errors.DuplicateKeyError",
        "pymongo.errors.OperationFailure",
        "pymongo.errors.PyMongoError",
    ),
    "SQLAlchemy": (
        "sqlalchemy.exc.IntegrityError",
        "sqlalchemy.exc.DatabaseError",
        "sqlalchemy.exc.DBAPIError",
        "sqlalchemy.exc.SQLAlchemyError",
    ),
}


def error_with_classes(names: tuple[str, ...]) -> Exception:
    """Return an error whose classes have these names, each a subclass of the next."""
    kind: type[Exception] = Exception
    for name in reversed(names):
        module, _, qualified = name.rpartition(".")
        kind = type(qualified, (kind,), {"__module__": module})
    return kind()


@pytest.mark.parametrize("client", DEPENDENCY_FAILURES)
def test_errors_of_uninstalled_clients_are_classified_by_name(client: str) -> None:
    """An unavailable server must not fill the poison queue."""
    assert (
        policy(Sleeps()).classify(error_with_classes(DEPENDENCY_FAILURES[client]))
        is FailureKind.DEPENDENCY
    )


@pytest.mark.parametrize(
    "error",
    [
        *map(error_with_classes, REFUSED.values()),
        redis.exceptions.ResponseError("WRONGTYPE"),
        httpx.HTTPStatusError("404", request=httpx.Request("GET", "/"), response=None),  # type: ignore[arg-type]
        requests.exceptions.HTTPError(),
        azure.core.exceptions.ResourceNotFoundError(),
        azure.eventhub.exceptions.EventDataSendError("too large"),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__qualname__}",
)
def test_request_that_a_server_refuses_is_no_dependency_failure(error: Exception) -> None:
    """The server answered. Every retry would be refused as well, while the event's key waits."""
    assert policy(Sleeps()).classify(error) is FailureKind.EXHAUSTED


async def test_exception_group_with_a_poison_error_is_poison() -> None:
    """A group without a PoisonEventError is retried like any other error."""
    error = ExceptionGroup("group", [TimeoutError(), PoisonEventError("bad"), LookupError()])
    failure = await policy(Sleeps()).run(Failing(error), event(1))
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.POISON, 1)
    failure = await policy(Sleeps()).run(
        Failing(*[ExceptionGroup("g", [LookupError()])] * 4), event(1)
    )
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.EXHAUSTED, 4)


async def test_ctrl_c_is_raised_at_once() -> None:
    """The user who interrupts the process does not wait for further attempts."""
    calls = 0

    async def interrupted(_event: Event) -> None:
        nonlocal calls
        calls += 1
        if calls != 2:
            signal.raise_signal(signal.SIGINT)
        raise LookupError

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for expected in (1, 3):
            with pytest.raises(KeyboardInterrupt):
                await policy(Sleeps()).run(interrupted, event(1))
            assert calls == expected
    finally:
        signal.signal(signal.SIGINT, before)


async def test_configured_dependency_errors_include_subclasses() -> None:
    """The setting adds types to those that the policy has."""

    class SpecialError(LookupError):
        pass

    kind = RetryPolicy(
        max_attempts=1,
        initial_seconds=0,
        max_seconds=0,
        dependency_errors=["builtins.LookupError"],
    ).classify(SpecialError())
    assert kind is FailureKind.DEPENDENCY


async def test_cancelling_the_task_raises_cancelled_error() -> None:
    """A cancelled task is no failure of its event."""
    started = asyncio.Event()

    async def hang(_event: Event) -> None:
        started.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(policy(Sleeps()).run(hang, event(1)))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_cancelled_error_raised_by_the_handler_is_a_failure() -> None:
    """A handler that awaits a cancelled task has failed like any other handler."""
    failure = await policy(Sleeps(), max_attempts=2).run(
        Failing(asyncio.CancelledError(), asyncio.CancelledError()), event(1)
    )
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.EXHAUSTED, 2)
