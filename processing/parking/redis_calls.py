"""Calls of the Redis scripts of parked lists: errors, and writes that replicas must confirm."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import (
    NoPermissionError,
    NoScriptError,
    ResponseError,
)

from breaker.stores.redis import FAILURES, PatientTimeout, explained, refusal_in
from processing.errors import StorageUnavailableError
from processing.identity import Source
from processing.parking.lua import source as source_of
from processing.parking.memory_guard import redis_full

logger = logging.getLogger(__name__)

_SCRIPTS = (
    *("claim", "poison", "defer", "park", "announced", "lease", "renew", "release", "replace"),
    *(
        "postpone",
        "finish",
        "forget",
        "due",
        "wake",
        "needs",
        "summary",
        "drop_mark",
        "poison_head",
        "overdue",
        "heads",
    ),
)
WRITTEN = "written"
_CLUSTER = "a cluster's client does not send a write and its WAIT on one connection"


class RedisCalls:
    """Calls of scripts; a *durable* call is followed by WAIT on the same connection.

    Args:
        client: a redis.asyncio client; the caller closes it.
        replicas: number of replicas that must confirm a durable call.
        milliseconds: timeout of their confirmation.
    """

    def __init__(self, client: Redis | RedisCluster, replicas: int, milliseconds: int) -> None:
        self._client: Any = client
        self._replicas = replicas
        self._milliseconds = milliseconds
        self._scripts = {name: client.register_script(source_of(name)) for name in _SCRIPTS}

    async def run(self, name: str, keys: Sequence[str | bytes], args: Sequence[Any]) -> Any:
        """Run a script and return its reply."""
        try:
            return await self._scripts[name](keys, args)
        except FAILURES as error:
            raise unavailable(error) from error

    async def write(
        self, name: str, source: Source, keys: Sequence[str], args: Sequence[Any]
    ) -> tuple[str, list[Any]]:
        """Run a script that must not be lost; return its outcome and the other values.

        Raises:
            ParkingFullError: Redis has no memory left for the write.
            StorageUnavailableError: Redis did not answer, or too few replicas confirmed in time.
        """
        if self._replicas and isinstance(self._client, RedisCluster):
            self._expect_none(_CLUSTER)
        try:
            if self._replicas:
                reply, confirmed = await self._with_wait(name, keys, args)
            else:
                reply, confirmed = await self._scripts[name](list(keys), list(args)), 0
        except FAILURES as error:
            raise _refused(source, error) from error
        outcome = reply[0].decode() if isinstance(reply[0], bytes) else reply[0]
        if outcome == WRITTEN and confirmed < self._replicas:
            raise self._too_few(confirmed)
        return outcome, reply[1:]

    async def checked(self, source: Source, command: Awaitable[Any]) -> Any:
        """Return the reply of a write that needs memory; raises as `write` does."""
        try:
            return await command
        except FAILURES as error:
            raise _refused(source, error) from error

    async def confirm(self, key: str) -> bool:
        """Write to a key; return whether enough replicas confirm the write.

        If they do not, later writes expect no confirmation.
        """
        if not self._replicas:
            return True
        if isinstance(self._client, RedisCluster):
            return self._expect_none(_CLUSTER)
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.set(key, "confirm", px=60_000)
                pipe.wait(self._replicas, self._milliseconds)
                written, confirmed = await pipe.execute(raise_on_error=False)
            if isinstance(written, Exception):
                raise written
            if _refuses_wait(confirmed):
                return self._expect_none(f"Redis refuses WAIT: {confirmed}")
            if isinstance(confirmed, Exception):
                raise confirmed
        except FAILURES as error:
            raise unavailable(error) from error
        if confirmed < self._replicas:
            return self._expect_none(str(self._too_few(confirmed)))
        return True

    async def _with_wait(
        self, name: str, keys: Sequence[str], args: Sequence[Any]
    ) -> tuple[Any, int]:
        """Run a script and WAIT on one connection; return the reply and the confirmations."""
        script = self._scripts[name]
        for attempt in (1, 2):
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.evalsha(script.sha, len(keys), *keys, *args)
                pipe.wait(self._replicas, self._milliseconds)
                reply, confirmed = await pipe.execute(raise_on_error=False)
            if not isinstance(reply, NoScriptError) or attempt > 1:
                break
            await self._client.script_load(script.script)  # the server was restarted
        if isinstance(reply, Exception):
            raise reply
        if _refuses_wait(confirmed):
            self._expect_none(f"Redis refuses WAIT: {confirmed}")
            return reply, 0
        if isinstance(confirmed, Exception):
            raise confirmed
        return reply, int(confirmed)

    def _expect_none(self, reason: str) -> bool:
        logger.warning(
            "Parked events are not confirmed by %s replicas from now on: %s",
            *(self._replicas, reason),
        )
        self._replicas = 0
        return False

    def _too_few(self, confirmed: int) -> StorageUnavailableError:
        return StorageUnavailableError(
            f"parking store: {confirmed} of {self._replicas} replicas confirmed the write within "
            f"{self._milliseconds} ms"
        )


async def reply_of(command: Awaitable[Any], seconds: float | None = None) -> Any:
    """Return a command's reply.

    Args:
        command: the command.
        seconds: timeout; None: until the client has made all its retries.

    Raises:
        StorageUnavailableError: Redis did not answer.
    """
    try:
        async with PatientTimeout(seconds):
            return await command
    except FAILURES as error:
        raise unavailable(error) from error


def unavailable(error: Exception) -> StorageUnavailableError:
    """Return the error for a failed command."""
    return StorageUnavailableError(f"parking store: {explained(error)}")


def _refused(source: Source, error: Exception) -> StorageUnavailableError:
    refusal = refusal_in(error)
    if refusal is not None and refusal.code == "OOM":
        return redis_full(source, "Redis has reached its maxmemory")
    return unavailable(error)


def _refuses_wait(reply: object) -> bool:
    """Return whether the server does not know WAIT, or forbids WAIT to this user."""
    return isinstance(reply, NoPermissionError) or (
        isinstance(reply, ResponseError) and "unknown command" in str(reply).lower()
    )
