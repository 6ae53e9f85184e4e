"""Running the scripts, each in one round trip, and naming what goes wrong.

A recorded failure may cost 1.5 times a PING, of which redis-py itself is the larger part: a
connection out of the pool and back, and the packing of arguments that never change. So a script
takes the short way: a command packed beforehand, over a connection that is kept. Where that breaks
(a connection that was cut, a server that has forgotten its scripts) or cannot be (a cluster), the
client's own way is taken, with its retries. Every script may be repeated.
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

from breaker.errors import StoreUnavailableError
from breaker.state import Rules
from breaker.stores import lua
from breaker.stores.redis.client import Client
from breaker.stores.redis.token_login import TOKEN_SECONDS, TokenLogin

type Argument = str | int | bytes

CONNECTIONS = 16
"""How many operations of a store may be under way; the others wait their turn."""
_KEPT: WeakKeyDictionary[Client, list[AbstractConnection]] = WeakKeyDictionary()
"""Connections that stay out of a client's pool between calls; all its circuits share them."""
FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError)
"""What the driver raises when something went wrong between it and the server."""


class ScriptRunner:
    """Runs the scripts on the keys of one circuit.

    Args:
        client: whose connections are used.
        circuit: its name, for messages.
        timeout_seconds: an operation that takes longer counts as unavailable.
    """

    def __init__(self, client: Client, circuit: str, timeout_seconds: float) -> None:
        self._client = client
        self._circuit = circuit
        self._timeout = timeout_seconds
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._scripts: dict[str, AsyncScript] = {
            name: client.register_script(source) for name, source in lua.sources().items()
        }
        self._pool = _plain_pool(client)
        self._keeps = _may_keep(self._pool)
        self._kept = _KEPT.setdefault(client, [])
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
        """What the script returns.

        Args:
            script: its name.
            keys: the same at each call of the script.
            now_us: None means the server's time.
            rules: packed anew only when they are another object.
            arguments: what follows them.

        Raises:
            StoreUnavailableError: no answer, or an error instead of one.
        """
        if rules is not self._rules:
            self._rule_arguments = _rule_arguments(rules)
            self._packed_rules = b"".join(map(_packed, self._rule_arguments))
            self._rules = rules
        now: Argument = b"" if now_us is None else now_us
        async with self._turns:
            if self._pool is not None:
                head = self._head(script, keys, len(arguments))
                parts = (head, _packed(now), self._packed_rules, *map(_packed, arguments))
                connection = self._kept.pop() if self._kept else await self._connect(self._pool)
                try:
                    return await self._short_way(self._pool, connection, b"".join(parts))
                except (BrokenConnectionError, NoScriptError):
                    pass
                except FAILURES as error:
                    raise self._unavailable(error, self._timeout) from error
            given = (now, *self._rule_arguments, *arguments)
            return await self.ask(self._long_way(self._scripts[script], keys, given))

    async def ask(self, awaitable: Awaitable[Any], timeout: float | None = None) -> Any:
        """Await within the timeout (default: the store's).

        Raises:
            StoreUnavailableError: whatever went wrong.
        """
        limit = self._timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                return await awaitable
        except FAILURES as error:
            raise self._unavailable(error, limit) from error

    async def aclose(self) -> None:
        """Give the client's connections back to it."""
        while self._kept and self._pool is not None:
            connection = self._kept.pop()
            with contextlib.suppress(*FAILURES):
                await self._pool.release(connection)

    async def _connect(self, pool: ConnectionPool) -> AbstractConnection:
        login = pool.connection_kwargs.get("credential_provider")
        if isinstance(login, TokenLogin) and not login.ready:
            # A time of its own: that Entra is slow does not mean that Redis is away.
            await self.ask(login.refresh(), TOKEN_SECONDS)
        connection: AbstractConnection = await self.ask(
            pool.get_connection()  # type: ignore[no-untyped-call]
        )
        return connection

    async def _short_way(
        self, pool: ConnectionPool, connection: AbstractConnection, command: bytes
    ) -> Any:
        keep = False
        try:
            await connection.send_packed_command(command)
            # Cheaper than a timeout around it all: a command this small is sent at once.
            reply = await connection.read_response(timeout=self._timeout)
            if reply is None:  # no script returns nil, so it was the timeout
                await connection.disconnect(nowait=True)
                raise TimeoutError
            # Announced by a server that is about to move.
            moves: bool = connection.should_reconnect()  # type: ignore[no-untyped-call]
            keep = self._keeps and not moves and len(self._kept) < CONNECTIONS
            return reply
        finally:
            if keep:
                self._kept.append(connection)
            else:
                await pool.release(connection)

    async def _long_way(
        self, script: AsyncScript, keys: tuple[bytes, ...], given: tuple[Argument, ...]
    ) -> Any:
        try:
            return await self._client.execute_command(
                "EVALSHA", script.sha, len(keys), *keys, *given
            )
        except NoScriptError:
            # Restarted or failed over: the script object loads itself again.
            return await script(keys, given)

    def _head(self, script: str, keys: tuple[bytes, ...], arguments: int) -> bytes:
        """The command up to its keys, packed."""
        head = self._packed_heads.get((script, arguments))
        if head is None:
            words: tuple[Argument, ...] = ("EVALSHA", self._scripts[script].sha, len(keys), *keys)
            total = len(words) + 1 + len(self._rule_arguments) + arguments
            head = b"*%d\r\n" % total + b"".join(map(_packed, words))
            self._packed_heads[script, arguments] = head
        return head

    def _unavailable(self, error: BaseException, timeout: float) -> StoreUnavailableError:
        detail = str(error) or f"no answer within {timeout:g} s"
        # Anything else is Redis's own answer, and so the address is right.
        unheard = isinstance(error, BrokenConnectionError | NoAnswerError | OSError)
        hint = "; is REDIS_URL right, and is Redis up?" if unheard else ""
        return StoreUnavailableError(
            f"Redis could not be asked about circuit {self._circuit!r}: "
            f"{type(error).__name__}: {detail}{hint}"
        )


def _plain_pool(client: Client) -> ConnectionPool | None:
    """The client's pool, if all that a command needs is a connection out of it."""
    if not isinstance(client, Redis) or client.single_connection_client:
        return None
    pool = client.connection_pool
    return pool if type(pool) is ConnectionPool else None  # not one that waits, or asks a sentinel


def _may_keep(pool: ConnectionPool | None) -> bool:
    """Whether connections may stay out of the pool between calls.

    Not out of a small pool, which others need as well, nor with tokens: a connection that Redis has
    closed because its token ran out is found on the way out of the pool, and opened anew.
    """
    return (
        pool is not None
        and pool.max_connections >= 2 * CONNECTIONS
        and pool.connection_kwargs.get("credential_provider") is None
    )


def _packed(value: Argument) -> bytes:
    """As the protocol has it: the length in bytes, then the value."""
    data = value if isinstance(value, bytes) else str(value).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _rule_arguments(rules: Rules) -> tuple[bytes, bytes]:
    """ARGV[2] and ARGV[3] of every script."""
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
    )
    return " ".join(map(repr, numbers)).encode(), rules.instance.encode()
