"""The handler of `two-pipelines` on real Redis."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from loadtest.handlers.curable import CurableHandler
from processing.errors import PoisonEventError
from tests.support.processing.events import event


async def test_poison_event_is_handled_once_its_run_is_cured(redis_url: str) -> None:
    handler = CurableHandler.from_settings({"REDIS_URL": redis_url})
    poison = event(1, "a", properties={"run": "curable", "counter": 1, "simulate": "poison"})
    try:
        async with Redis.from_url(redis_url) as client:
            with pytest.raises(PoisonEventError):
                await handler(poison)
            await client.set("ledger:{other}:cured", "1")
            with pytest.raises(PoisonEventError):
                await handler(poison)
            await client.set("ledger:{curable}:cured", "1")
            await handler(poison)
            assert await client.llen("ledger:{curable}:key:a") == 1
    finally:
        await handler.aclose()
