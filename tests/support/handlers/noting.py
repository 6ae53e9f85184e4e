"""A handler that records every call with an event as `<partition> <sequence>`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from redis.asyncio import Redis

from processing.event import Event


class NotingHandler:
    """A handler that appends each event to the Redis list `noted`."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(Redis.from_url(settings["REDIS_URL"]))

    async def __call__(self, event: Event) -> None:
        await self._client.rpush("noted", f"{event.partition} {event.sequence_number}")

    async def aclose(self) -> None:
        await self._client.aclose()
