"""The ledger handler behind a fault that can be repaired.

An event with the property `broken` is poison until the Redis key `repaired:<run>` exists. An event
takes `pause_ms` milliseconds. An event with the property `held` waits until the key
`released:<run>` exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Self

from redis.asyncio import Redis

from processing.errors import PoisonEventError
from processing.event import Event
from processing.handlers.ledger import LedgerHandler


class RepairableLedger:
    def __init__(self, ledger: LedgerHandler, client: Redis) -> None:
        self._ledger = ledger
        self._client = client

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(LedgerHandler.from_settings(settings), Redis.from_url(settings["REDIS_URL"]))

    async def __call__(self, event: Event) -> None:
        if event.properties.get("broken") and not await self._client.exists(
            f"repaired:{event.properties['run']}"
        ):
            raise PoisonEventError("broken until it is repaired")
        await asyncio.sleep(event.properties.get("pause_ms", 0) / 1000)
        if event.properties.get("held"):
            while not await self._client.exists(f"released:{event.properties['run']}"):
                await asyncio.sleep(0.02)
        await self._ledger(event)

    async def aclose(self) -> None:
        await self._ledger.aclose()
        await self._client.aclose()
