"""RetryPolicy: how often, how long apart, and what the last error says."""

from __future__ import annotations

import asyncio
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
    """Records pauses instead of making them."""

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


async def test_success_needs_no_pause() -> None:
    """The healthy path: one call, no pause."""
    sleeps, handler = Sleeps(), Failing()
    assert await policy(sleeps).run(handler, event(1)) is None
    assert (handler.calls, sleeps) == (1, [])


async def test_succeeds_later() -> None:
    """An event that succeeds within its attempts has not failed."""
    sleeps, handler = Sleeps(), Failing(RuntimeError("a"), RuntimeError("b"))
    assert await policy(sleeps).run(handler, event(1)) is None
    assert handler.calls == 3
    assert len(sleeps) == 2


async def test_exhausted() -> None:
    """max_attempts counts the first; pauses double, with jitter, up to the longest."""
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
    """PoisonEventError ends it at once, also as a later attempt's answer."""
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
)
async def test_dependency_errors(error: Exception) -> None:
    """Connection and timeout errors of the usual clients mean that a dependency is down."""
    failure = await policy(Sleeps(), max_attempts=1).run(Failing(error), event(1))
    assert failure is not None
    assert failure.kind is FailureKind.DEPENDENCY


# The classes of what clients that are not installed here raise, an error's own first: tried with
# nobody listening, silence and a server that hangs up, the rest as their modules have it, in
# asyncpg 0.32.0, azure-cosmos 4.17.1, azure-servicebus 7.15.0, botocore 1.44.8, psycopg 3.3.9,
# psycopg2 2.9.13, pymongo 4.20.1, SQLAlchemy 2.1.9.
AWAY = {
    "asyncpg, the server hung up": (
        "asyncpg.exceptions.ConnectionDoesNotExistError",
        "asyncpg.exceptions.PostgresConnectionError",
        "asyncpg.exceptions._base.PostgresError",
    ),
    "asyncpg, the server starts": (
        "asyncpg.exceptions.CannotConnectNowError",
        "asyncpg.exceptions.OperatorInterventionError",
        "asyncpg.exceptions._base.PostgresError",
    ),
    "asyncpg, the server is full": (
        "asyncpg.exceptions.TooManyConnectionsError",
        "asyncpg.exceptions.InsufficientResourcesError",
        "asyncpg.exceptions._base.PostgresError",
    ),
    "Cosmos, silent": (
        "azure.cosmos.exceptions.CosmosClientTimeoutError",
        "azure.core.exceptions.AzureError",
    ),
    "Service Bus, refused": (
        "azure.servicebus.exceptions.ServiceBusConnectionError",
        "azure.servicebus.exceptions.ServiceBusError",
        "azure.core.exceptions.AzureError",
    ),
    "Service Bus, a link broke": (
        "azure.servicebus.exceptions.ServiceBusCommunicationError",
        "azure.servicebus.exceptions.ServiceBusError",
        "azure.core.exceptions.AzureError",
    ),
    "Service Bus, silent": (
        "azure.servicebus.exceptions.OperationTimeoutError",
        "azure.servicebus.exceptions.ServiceBusError",
        "azure.core.exceptions.AzureError",
    ),
    "botocore, refused": (
        "botocore.exceptions.EndpointConnectionError",
        "botocore.exceptions.ConnectionError",
        "botocore.exceptions.BotoCoreError",
    ),
    "botocore, silent": (
        "botocore.exceptions.ReadTimeoutError",
        "botocore.exceptions.HTTPClientError",
        "botocore.exceptions.BotoCoreError",
    ),
    "botocore, hung up": (
        "botocore.exceptions.ConnectionClosedError",
        "botocore.exceptions.HTTPClientError",
        "botocore.exceptions.BotoCoreError",
    ),
    "psycopg, silent": (
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
    "pymongo, the pool is empty": (
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
    "SQLAlchemy, the pool is empty": (
        "sqlalchemy.exc.TimeoutError",
        "sqlalchemy.exc.SQLAlchemyError",
    ),
    "SQLAlchemy, a connection that is dead": (
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


def raised(names: tuple[str, ...]) -> Exception:
    """An error whose classes have these names, each the next one's subclass."""
    kind: type[Exception] = Exception
    for name in reversed(names):
        module, _, qualified = name.rpartition(".")
        kind = type(qualified, (kind,), {"__module__": module})
    return kind()


@pytest.mark.parametrize("client", AWAY)
def test_dependency_errors_of_clients_that_are_not_installed(client: str) -> None:
    """They are known by name; a server that is away fills no poison queue."""
    assert policy(Sleeps()).classify(raised(AWAY[client])) is FailureKind.DEPENDENCY


@pytest.mark.parametrize(
    "error",
    [
        *map(raised, REFUSED.values()),
        redis.exceptions.ResponseError("WRONGTYPE"),
        httpx.HTTPStatusError("404", request=httpx.Request("GET", "/"), response=None),  # type: ignore[arg-type]
        requests.exceptions.HTTPError(),
        azure.core.exceptions.ResourceNotFoundError(),
        azure.eventhub.exceptions.EventDataSendError("too large"),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__qualname__}",
)
def test_what_a_server_refuses_is_no_dependency_that_is_down(error: Exception) -> None:
    """It was there and has answered: the event would be refused for ever, and hold up its key."""
    assert policy(Sleeps()).classify(error) is FailureKind.EXHAUSTED


async def test_a_group_with_a_verdict() -> None:
    """A handler's task group is poison, and not retried, if one of its tasks says so."""
    error = ExceptionGroup("group", [TimeoutError(), PoisonEventError("bad"), LookupError()])
    failure = await policy(Sleeps()).run(Failing(error), event(1))
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.POISON, 1)
    failure = await policy(Sleeps()).run(
        Failing(*[ExceptionGroup("g", [LookupError()])] * 4), event(1)
    )
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.EXHAUSTED, 4)


async def test_ctrl_c_goes_through() -> None:
    """Whoever ends the process on purpose is not held up by the attempts."""
    handler = Failing(KeyboardInterrupt(), KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        await policy(Sleeps()).run(handler, event(1))
    with pytest.raises(KeyboardInterrupt):
        await policy(Sleeps()).run(Failing(LookupError(), KeyboardInterrupt()), event(1))
    assert handler.calls == 1


async def test_own_dependency_errors() -> None:
    """Further types can be named; subclasses count."""

    class SpecialError(LookupError):
        pass

    kind = RetryPolicy(
        max_attempts=1,
        initial_seconds=0,
        max_seconds=0,
        dependency_errors=["builtins.LookupError"],
    ).classify(SpecialError())
    assert kind is FailureKind.DEPENDENCY


async def test_cancellation_passes() -> None:
    """Cancelling the task that runs the handler is no failure; the cancellation goes through."""
    started = asyncio.Event()

    async def hang(_event: Event) -> None:
        started.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(policy(Sleeps()).run(hang, event(1)))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_cancellation_from_inside_is_a_failure() -> None:
    """A handler that awaits something that was cancelled has failed like any other."""
    failure = await policy(Sleeps(), max_attempts=2).run(
        Failing(asyncio.CancelledError(), asyncio.CancelledError()), event(1)
    )
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.EXHAUSTED, 2)
