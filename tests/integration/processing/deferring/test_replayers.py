"""Replayers of several instances on one Redis."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import AsyncExitStack

from redis.asyncio import Redis

from processing.deferring.heartbeat_redis import RedisHeartbeat
from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
from processing.parking.event import is_reached, position_of
from processing.parking.redis import RedisParkingStore
from tests.support.processing.events import IDENTITY, SOURCE, event
from tests.support.processing.replay_rig import Rig, open_rig

KEYS = 8
EVENTS = 20


async def test_replayers_share_the_keys_and_keep_their_order(redis_url: str) -> None:
    """Each event is handled once, in order, although every instance is asked to replay each key."""
    rng = random.Random(20261130)  # noqa: S311 - not for secrets
    handled: dict[str | None, list[int]] = defaultdict(list)
    in_flight: set[str | None] = set()

    async def handle(each: Event) -> None:
        assert each.key not in in_flight
        in_flight.add(each.key)
        await asyncio.sleep(0)
        in_flight.discard(each.key)
        if rng.random() < 0.05:
            raise DependencyUnavailableError("down")
        handled[each.key].append(each.sequence_number)
        if each.sequence_number % 50 == 7:
            raise PoisonEventError("bad")

    async with Redis.from_url(redis_url) as client, AsyncExitStack() as stack:
        store = RedisParkingStore(client, most=1000, ttl_seconds=60, identity=IDENTITY)
        rigs: list[Rig] = []
        for _ in range(3):
            rigs.append(await stack.enter_async_context(open_rig(store=store)))
            rigs[-1].before = handle
        keys = [f"k{number}" for number in range(KEYS)]
        for number, key in enumerate(keys):
            first = number * EVENTS
            await rigs[0].defer(*range(first, first + EVENTS), key=key)
        for _ in range(100):
            await asyncio.gather(*(rig.replay(*keys) for rig in rigs))
            if not await store.keys():
                break
        assert await store.keys() == []
        for number, key in enumerate(keys):
            assert handled[key] == list(range(number * EVENTS, (number + 1) * EVENTS))
        poisoned = sorted(number for rig in rigs for number in rig.poisoned)
        assert poisoned == [n for n in range(KEYS * EVENTS) if n % 50 == 7]
        claim = await store.claim(SOURCE, keys)
        assert is_reached(position_of(event(EVENTS - 1, "k0")), claim.replayed["k0"])


async def test_timer_replays_what_is_due_and_beats(redis_url: str) -> None:
    """A postponed key is not due, and its numbers are stored."""
    async with Redis.from_url(redis_url) as client, AsyncExitStack() as stack:
        store = RedisParkingStore(client, most=1000, ttl_seconds=60, identity=IDENTITY)
        rig = await stack.enter_async_context(open_rig(store=store))
        rig.errors[1] = DependencyUnavailableError("down")
        await rig.defer(1, 2, key="bad")
        await rig.defer(3, 4, key="good")
        heartbeat = RedisHeartbeat(client, IDENTITY)
        assert await rig.replayer.run_due(4, heartbeat) == 2
        assert await rig.replayer.run_due(4, heartbeat) == 0
        assert rig.started.count(1) == 1
        found = await rig.deferral("bad")
        assert (found.attempts, found.tries) == (2, 1)
        assert found.head == position_of(event(1, "bad"))
        assert await heartbeat.age() is not None
