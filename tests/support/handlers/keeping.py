"""A handler that stores each event byte for byte, or poisons an event on request."""

from __future__ import annotations

import base64
import json
import os

from redis.asyncio import Redis

from processing.errors import PoisonEventError
from processing.event import Event


async def keep(event: Event) -> None:
    """Append the event to the Redis list `kept`."""
    if event.properties.get("poison"):
        raise PoisonEventError("asked to")
    kept = {
        "id": event.properties.get("id"),
        "body": base64.b64encode(event.body).decode(),
        "key": event.key,
        "properties": event.properties,
        "system_properties": event.system_properties,
        "event_id": event.id,
    }
    async with Redis.from_url(os.environ["REDIS_URL"]) as client:
        await client.rpush("kept", json.dumps(kept))
