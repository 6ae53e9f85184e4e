"""Clients whose commands wait for a free connection.

The clients of redis-py raise an error when all connections are in use. That is a limit of this
process, but would be reported as an outage of Redis.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode, ClusterPipeline
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as NoAnswerError

from breaker.stores.redis.patience import PatientTimeout

CONNECTIONS = 100
"""Default number of connections of a client, which is redis-py's own."""
_PIPELINES = 16
"""Greatest number of concurrent pipelines of a cluster's client; further pipelines wait."""
_SUBSCRIPTIONS = 16
"""Connections to each node of a cluster for subscriptions, and for reading the cluster's layout."""
_MANY = 2**31
_FIRST: ContextVar[bool] = ContextVar("breaker_redis_first", default=False)


@contextmanager
def first_in_turn() -> Iterator[None]:
    """Let the commands of the block wait before all other commands.

    A circuit has few commands and one timeout for each, with its wait. Behind thousands of other
    commands it would take their number for an outage.
    """
    token = _FIRST.set(True)
    try:
        yield
    finally:
        _FIRST.reset(token)


class NoFreeConnectionError(NoAnswerError):
    """No connection came free, because Redis answered none of the commands in flight.

    A cluster's client repeats no command after this error.
    """


class Places:
    """A limit of concurrent commands; further commands wait in turn.

    The waiting ends with an error only if Redis answers nothing for a whole timeout. So a long
    queue is not taken for an outage.

    Args:
        most: greatest number of concurrent commands.
        seconds: the timeout.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._free = most  # not 0 only if nobody waits
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._answers = 0

    async def take(self) -> None:
        """Take a place, and wait for one if none is free.

        Raises:
            NoFreeConnectionError: Redis answered nothing for the timeout.
        """
        if self._free:
            self._free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        if _FIRST.get():
            self._waiting.appendleft(place)
        else:
            self._waiting.append(place)
        try:
            await self._wait_for(place)
        except BaseException:
            if place.done():
                self.give_back()
            else:
                self._waiting.remove(place)
            raise

    def give_back(self, *, answered: bool = False) -> None:
        """Give a place to the first command that waits.

        Args:
            answered: whether Redis answered the command that had the place.
        """
        self._answers += answered
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._free += 1

    async def _wait_for(self, place: asyncio.Future[None]) -> None:
        while not place.done():
            answers = self._answers
            try:
                async with PatientTimeout(self._seconds):
                    await asyncio.wait((place,))
            except TimeoutError:
                if not place.done() and answers == self._answers:
                    raise NoFreeConnectionError(
                        f"none of {self._most} commands in flight was answered within "
                        f"{self._seconds:g} s"
                    ) from None


class WaitingPool(ConnectionPool):
    """A pool whose callers wait for a free connection.

    Args:
        wait_seconds: time without any answer of Redis after which the waiting ends with an error.
        options: see `ConnectionPool`.

    Attributes:
        subscriptions: a pool without a limit for subscriptions, which keep their connections.
    """

    def __init__(self, *, wait_seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self._places = Places(self.max_connections, wait_seconds)
        self.subscriptions = ConnectionPool(**(options | {"max_connections": _MANY}))

    async def get_connection(
        self,
        command_name: Any = None,
        *_keys: Any,
        **_options: Any,
    ) -> AbstractConnection:
        """Return a connected connection; wait if all connections are in use.

        Raises:
            NoFreeConnectionError: Redis answered nothing for the timeout.
            RedisError: the connection failed.
        """
        await self._places.take()
        try:
            connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        except BaseException:
            self._places.give_back()
            raise
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        """Give a connection back to the pool."""
        was_in_use = connection in self._in_use_connections
        answered = connection.is_connected
        try:
            await super().release(connection)
        finally:
            if was_in_use and connection not in self._in_use_connections:
                self._places.give_back(answered=answered)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections, also if the task is cancelled; see `ConnectionPool`."""
        try:
            await _certainly(partial(super().disconnect, inuse_connections))
        finally:
            await _certainly(partial(self.subscriptions.disconnect, inuse_connections))


class WaitingCluster(RedisCluster):
    """A cluster's client whose commands wait for a free connection.

    redis-py limits the connections to each node, and offers no pool that waits. So the client
    limits its concurrent commands to the connections of one node.

    Args:
        wait_seconds: time without any answer of Redis after which the waiting ends with an error.
        max_connections: greatest number of concurrent commands.
        options: see `RedisCluster`.
    """

    def __init__(
        self, *, wait_seconds: float, max_connections: int = CONNECTIONS, **options: Any
    ) -> None:
        most = max_connections + _PIPELINES + _SUBSCRIPTIONS
        super().__init__(max_connections=most, **options)
        self._places = Places(max_connections, wait_seconds)
        self._pipeline_places = Places(_PIPELINES, wait_seconds)

    async def aclose(self) -> None:
        """Close the connections, also if the task is cancelled; see `RedisCluster`."""
        try:
            await super().aclose()
        except asyncio.CancelledError:
            # The client counts as closed, and would close nothing.
            for nodes in ("nodes_cache", "startup_nodes"):
                await self.nodes_manager.aclose(nodes)
            raise

    async def _execute_command(self, target_node: ClusterNode, *args: Any, **kwargs: Any) -> Any:
        async with _Place(self._places):
            return await super()._execute_command(target_node, *args, **kwargs)

    def pipeline(
        self, transaction: Any | None = None, shard_hint: Any | None = None
    ) -> ClusterPipeline:
        """Return a pipeline; see `RedisCluster`."""
        if shard_hint:
            return super().pipeline(transaction, shard_hint)  # raises redis-py's error
        return _WaitingPipeline(self, transaction, self._pipeline_places)  # type: ignore[abstract]


class _WaitingPipeline(ClusterPipeline):
    """A pipeline that waits before it is sent."""

    def __init__(self, client: RedisCluster, transaction: Any | None, places: Places) -> None:
        super().__init__(client, transaction)
        self._places = places

    async def execute(
        self, raise_on_error: bool = True, allow_redirections: bool = True
    ) -> list[Any]:
        async with _Place(self._places):
            return await super().execute(raise_on_error, allow_redirections)


class _Place:
    """A place during a block, in which one command is sent."""

    __slots__ = ("_places",)

    def __init__(self, places: Places) -> None:
        self._places = places

    async def __aenter__(self) -> None:
        await self._places.take()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        answered = kind is None or issubclass(kind, ResponseError)
        self._places.give_back(answered=answered)


async def _certainly(close: Callable[[], Awaitable[None]]) -> None:
    """Let redis-py close connections, and once more if the task is cancelled then.

    redis-py closes them in other tasks. A cancellation ends those that have not begun.
    """
    try:
        await close()
    except asyncio.CancelledError:
        await close()
        raise


def subscription_of(client: Redis | RedisCluster) -> PubSub:
    """Return a new subscription, which does not take a connection from the client's commands."""
    pool = None if isinstance(client, RedisCluster) else client.connection_pool
    if isinstance(pool, WaitingPool):
        return PubSub(pool.subscriptions)
    return client.pubsub()
