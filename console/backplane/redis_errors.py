"""Redis commands with a time limit; errors of the driver become errors of the console."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import RedisClusterException, RedisError

from breaker.stores.redis import explained


async def ask(
    awaitable: Awaitable[Any],
    failure: Callable[[str], Exception],
    timeout_seconds: float | None = None,
) -> Any:
    """Return the reply of Redis.

    Args:
        awaitable: the command.
        failure: builds the error from a text, see `explained`.
        timeout_seconds: limits the whole command, retries of the client included; None: no limit.

    Raises:
        Exception: the error built by `failure`, when Redis failed or did not answer in time.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            return await awaitable
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        raise failure(explained(error)) from error
