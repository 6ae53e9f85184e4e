"""A runner of the Redis scripts, one round trip each, that maps the driver's errors.

The goal for a recorded failure is 1.5 times the time of a PING. Most of the time above a PING is
spent in redis-py, which takes a connection from its pool for each command and packs arguments that
never change. So the runner sends prepacked commands over connections that it keeps. If a kept
connection is broken, the server has lost its scripts, or the client is a cluster client, the runner
calls the client instead, which retries. Repeating a script is always harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any
from weakref import WeakKeyDictionary

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as BrokenConnectionError
from redis.exceptions import NoScriptError, RedisClusterException, RedisError
from redis.exceptions import TimeoutError as NoAnswerError

from breaker.errors import StoreUnavailableError, WritesRefusedError
from breaker.state import Rules
from breaker.stores import lua
from breaker.stores.redis.client import Client, log_in
from breaker.stores.redis.links import links_of
from breaker.stores.redis.patience import PatientTimeout
from breaker.stores.redis.refusals import refusal_in
from breaker.stores.redis.token_login import TOKEN_SECONDS, TokenLogin
from breaker.stores.redis.waiting import WaitingPool, first_in_turn

type Argument = str | int | bytes

CONNECTIONS = 16
"""Greatest number of concurrent operations of a store; further operations queue."""
_KEPT_CONNECTIONS: WeakKeyDictionary[Client, list[AbstractConnection]] = WeakKeyDictionary()
"""Connections that stay out of a client's pool between calls, shared by all its circuits."""
FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError)
"""The driver's errors for a failed request."""


class ScriptRunner:
    """A runner of the scripts of one circuit.

    Args:
        client: the client whose connections are used.
        circuit: the circuit's name, for messages.
        timeout_seconds: timeout of each operation.
    """

    def __init__(self, client: Client, circuit: str, timeout_seconds: float) -> None:
        self._client = client
        self._circuit = circuit
        self._timeout = timeout_seconds
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._scripts: dict[str, AsyncScript] = {
            name: client.register_script(source) for name, source in lua.sources().items()
        }
        self._links = links_of(client)
        self._pool = _plain_pool(client)
        self._can_keep = _can_keep_connections(self._pool)
        self._kept = _KEPT_CONNECTIONS.setdefault(client, [])
        self._packed_heads: dict[tuple[str, int], bytes] = {}
        self._rules: Rules | None = None
        self._rule_arguments: tuple[bytes, bytes] = (b"", b"")
        self._packed_rules = b""

    async def run(
        self,
        script: str,
        keys: tuple[bytes, ...],
        now_us: int | None,
        rules: Rules,
        *arguments: Argument,
    ) -> Any:
        """Run a script and return its reply.

        Args:
            script: name of the script.
            keys: the keys, the same at each call of the script.
            now_us: time for the script, microseconds since the epoch; None for the server's time.
            rules: the circuit's rules; the packed rules are reused while the object is the same.
            arguments: the script's own arguments, from ARGV[4] on.

        Raises:
            WritesRefusedError: the server takes no writes.
            StoreUnavailableError: the server did not answer in time, or answered with an error.
        """
        if rules is not self._rules:
            self._rule_arguments = rule_arguments(rules)
            self._packed_rules = b"".join(map(_packed, self._rule_arguments))
            self._rules = rules
        now: Argument = b"" if now_us is None else now_us
        async with self._slots:
            if self._pool is not None:
                head = self._head(script, keys, len(arguments))
                parts = (head, _packed(now), self._packed_rules, *map(_packed, arguments))
                connection = await self._take(self._pool)
                try:
                    return await self._send_packed(self._pool, connection, b"".join(parts))
                except (BrokenConnectionError, NoScriptError):
                    pass
                except FAILURES as error:
                    raise self._unavailable(error, self._timeout) from error
            given = (now, *self._rule_arguments, *arguments)
            return await self.ask(self._call_client(self._scripts[script], keys, given))

    async def run_varied(
        self, script: str, keys: tuple[bytes, ...], arguments: tuple[Argument, ...]
    ) -> Any:
        """Run a script whose keys differ from call to call, and return its reply.

        Args:
            script: name of the script.
            keys: the keys.
            arguments: all arguments, from ARGV[1] on.

        Raises:
            StoreUnavailableError: see `run`.
        """
        async with self._slots:
            await log_in(self._client)
            return await self.ask(self._call_client(self._scripts[script], keys, arguments))

    async def ask(self, awaitable: Awaitable[Any], timeout: float | None = None) -> Any:
        """Await a request within `timeout` seconds (default: the store's timeout).

        Raises:
            StoreUnavailableError: the request timed out or the driver raised one of `FAILURES`.
        """
        limit = self._timeout if timeout is None else timeout
        try:
            with first_in_turn():
                async with PatientTimeout(limit):
                    return await awaitable
        except FAILURES as error:
            if isinstance(error, TimeoutError | NoAnswerError):
                await self.drop_connections()
            raise self._unavailable(error, limit) from error

    async def drop_connections(self) -> None:
        """Close the client's connections, see `Links.drop`."""
        if self._links is not None:
            await self._links.drop()

    async def aclose(self) -> None:
        """Return the kept connections to the client's pool."""
        while self._kept and self._pool is not None:
            connection = self._kept.pop()
            with contextlib.suppress(*FAILURES):
                await self._pool.release(connection)

    async def _take(self, pool: ConnectionPool) -> AbstractConnection:
        """Return a kept connection or one of the pool, which is connected within the timeout."""
        if self._kept:
            connection = self._kept.pop()
            if connection.is_connected:
                return connection
            # `Links.drop` has closed it. Sending would connect it within the client's own timeout.
            await pool.release(connection)
        return await self._connect(pool)

    async def _connect(self, pool: ConnectionPool) -> AbstractConnection:
        login = pool.connection_kwargs.get("credential_provider")
        if isinstance(login, TokenLogin) and not login.ready:
            # A separate timeout, so that a slow Entra is not reported as a Redis outage.
            await self.ask(login.refresh(), TOKEN_SECONDS)
        connection: AbstractConnection = await self.ask(
            pool.get_connection()  # type: ignore[no-untyped-call]
        )
        return connection

    async def _send_packed(
        self, pool: ConnectionPool, connection: AbstractConnection, command: bytes
    ) -> Any:
        keep = False
        try:
            await connection.send_packed_command(command)
            # A timeout for the reply only is cheaper; so small a command is sent at once.
            reply = await connection.read_response(timeout=self._timeout)
            if reply is None:  # no script returns nil, so None means a timeout
                await connection.disconnect(nowait=True)
                await self.drop_connections()
                raise TimeoutError
            # True if the server has announced maintenance.
            reconnect: bool = connection.should_reconnect()  # type: ignore[no-untyped-call]
            keep = self._can_keep and not reconnect and len(self._kept) < CONNECTIONS
            return reply
        finally:
            if keep:
                self._kept.append(connection)
            else:
                await pool.release(connection)

    async def _call_client(
        self, script: AsyncScript, keys: tuple[bytes, ...], given: tuple[Argument, ...]
    ) -> Any:
        try:
            return await self._client.execute_command(
                "EVALSHA", script.sha, len(keys), *keys, *given
            )
        except NoScriptError:
            # After a restart or failover the server has no scripts; this call loads the script.
            return await script(keys, given)

    def _head(self, script: str, keys: tuple[bytes, ...], arguments: int) -> bytes:
        """Return the packed command up to its keys."""
        head = self._packed_heads.get((script, arguments))
        if head is None:
            words: tuple[Argument, ...] = ("EVALSHA", self._scripts[script].sha, len(keys), *keys)
            total = len(words) + 1 + len(self._rule_arguments) + arguments
            head = b"*%d\r\n" % total + b"".join(map(_packed, words))
            self._packed_heads[script, arguments] = head
        return head

    def _unavailable(self, error: BaseException, timeout: float) -> StoreUnavailableError:
        if (refusal := refusal_in(error)) is not None:
            return WritesRefusedError(f"{refusal} (circuit {self._circuit!r})")
        detail = str(error) or f"no answer within {timeout:g} s"
        # Any other error is an answer of Redis, so the address is right.
        no_reply = isinstance(error, BrokenConnectionError | NoAnswerError | OSError)
        hint = "; check REDIS_URL, and whether Redis is running" if no_reply else ""
        return StoreUnavailableError(
            f"a Redis request for circuit {self._circuit!r} failed: "
            f"{type(error).__name__}: {detail}{hint}"
        )


def _plain_pool(client: Client) -> ConnectionPool | None:
    """Return the client's pool if a command only needs a connection from it, else None."""
    if not isinstance(client, Redis) or client.single_connection_client:
        return None
    pool = client.connection_pool
    # The blocking and sentinel pools of redis-py do more.
    return pool if type(pool) in {ConnectionPool, WaitingPool} else None


def _can_keep_connections(pool: ConnectionPool | None) -> bool:
    """Return whether connections may stay out of the pool between calls.

    A small pool needs its connections for other callers. With tokens, Redis closes a connection
    whose token has expired; only the pool detects the closed connection and opens another.
    """
    return (
        pool is not None
        and pool.max_connections >= 2 * CONNECTIONS
        and pool.connection_kwargs.get("credential_provider") is None
    )


def _packed(value: Argument) -> bytes:
    """Return a bulk string of the Redis protocol: the length in bytes, then the value."""
    data = value if isinstance(value, bytes) else str(value).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


def rule_arguments(rules: Rules) -> tuple[bytes, bytes]:
    """Return ARGV[2] and ARGV[3] of all scripts."""
    numbers = (
        rules.failure_threshold,
        rules.window_us,
        rules.failure_ratio,
        rules.minimum_throughput,
        rules.break_us,
        rules.break_max_us,
        rules.half_open_permits,
        rules.permit_us,
        rules.history_limit,
        rules.outbox_limit,
        rules.standstill_failures,
        rules.fresh_us,
        int(rules.observe),
        int(rules.stops_app),
    )
    return " ".join(map(repr, numbers)).encode(), rules.instance.encode()
