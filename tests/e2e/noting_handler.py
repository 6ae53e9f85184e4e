"""A handler that notes each event that it is given, however often: `<partition> <sequence>`."""

from __future__ import annotations

import os

from redis.asyncio import Redis

from processing.event import Event


async def note(event: Event) -> None:
    """Append the event to the Redis list `noted`."""
    async with Redis.from_url(os.environ["REDIS_URL"]) as client:
        await client.rpush("noted", f"{event.partition} {event.sequence_number}")
