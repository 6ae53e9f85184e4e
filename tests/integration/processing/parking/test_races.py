"""Parking by the owner and release by redrives at the same time, on real Redis.

No event stays in the list of a released key, and no event overtakes another.
"""

from __future__ import annotations

import asyncio
import random

import pytest
from redis.asyncio import Redis

from processing.identity import Identity, Source
from processing.parking.event import position_of
from processing.parking.redis import RedisParkingStore
from processing.parking.store import WritingAs
from tests.support.processing.events import event

IDENTITY = Identity("ns.example.net", "events", "$Default")
SOURCE = Source(IDENTITY, "0")
ROUNDS = 150


@pytest.mark.parametrize("redrives", [1, 3])
async def test_release_during_arrivals_keeps_the_order(redis_url: str, redrives: int) -> None:
    """Each round parks the key, and its redrives race with the next events."""
    async with Redis.from_url(redis_url) as one, Redis.from_url(redis_url) as other:
        owner = RedisParkingStore(one, most=1000, ttl_seconds=60, identity=IDENTITY)
        operator = RedisParkingStore(other, most=1000, ttl_seconds=60, identity=IDENTITY)
        writing = WritingAs((await owner.claim(SOURCE)).owner, "")
        ledger: list[str] = []
        pace = random.Random(redrives)  # noqa: S311 - a seed, not a secret

        async def replay(token: str) -> None:
            if not await operator.lease(SOURCE, "k", token, 60_000):
                return
            while entries := await operator.entries(SOURCE, "k", most=2):
                for entry in entries:
                    ledger.append(entry.position)
                    if not await operator.finish(SOURCE, "k", token, entry.position):
                        break
            await operator.release(SOURCE, "k", token)

        async def arrive(number: int) -> list[str]:
            """Park events at an uneven pace, until two events have arrived after the release."""
            positions: list[str] = []
            after_release = 0
            while after_release < 2:
                positions.append(position_of(event(number * 1000 + len(positions) + 1)))
                reply = await owner.park(writing, SOURCE, "k", [(positions[-1], "e")])
                if reply.released:
                    after_release += 1
                    ledger.append(positions[-1])
                else:
                    for _ in range(pace.randrange(8)):
                        await one.ping()
            return positions

        expected: list[str] = []
        for number in range(ROUNDS):
            expected.append(position_of(event(number * 1000)))
            await owner.poison(writing, SOURCE, "k", expected[-1], "poison")
            arriving = asyncio.create_task(arrive(number))
            await asyncio.gather(*(replay(f"t{each}") for each in range(redrives)))
            arrived = await arriving
            expected += arrived
            assert ledger == expected, f"round {number}"
            assert await owner.keys() == []
            assert await owner.entries(SOURCE, "k") == []
