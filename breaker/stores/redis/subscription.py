"""A subscription to a Redis channel that notices when its connection is dead."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from breaker.errors import StoreUnavailableError
from breaker.stores.redis.client import Client
from breaker.stores.redis.runner import ScriptRunner
from breaker.stores.redis.waiting import subscription_of

PING_SECONDS = 5.0


async def messages(
    client: Client, channel: str, runner: ScriptRunner, *, circuit: str, timeout_seconds: float
) -> AsyncGenerator[bytes | str | None]:
    """Yield each message of a channel, and None after subscribing.

    Args:
        client: the client whose connection is used.
        channel: the channel.
        runner: maps the driver's errors.
        circuit: name of the circuit, for messages.
        timeout_seconds: timeout of an answer.

    Raises:
        StoreUnavailableError: the connection answers neither messages nor pings.
    """
    async with aclosing(subscription_of(client)) as subscription:
        await runner.ask(subscription.subscribe(channel))
        pinged = False
        while True:
            message = await runner.ask(
                subscription.get_message(timeout=PING_SECONDS), PING_SECONDS + timeout_seconds
            )
            if message is None:
                if pinged:
                    raise StoreUnavailableError(
                        f"the Redis subscription of circuit {circuit!r} did not answer a ping"
                    )
                await runner.ask(subscription.ping())
                pinged = True
                continue
            pinged = False
            if message["type"] == "subscribe":
                yield None
            elif message["type"] == "message":
                yield message["data"]
