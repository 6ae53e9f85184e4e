"""The model on a real Redis, in real time: many runs side by side, each with an app of its own."""

from __future__ import annotations

import asyncio
import logging
from random import Random

import pytest
import redis
from redis.asyncio import Redis

from processing.identity import Identity
from tests.model.plan import FaultKind, plan_for
from tests.model.redis_cluster import RedisCluster
from tests.model.world import World

KINDS = frozenset(FaultKind) - {FaultKind.FAILOVER, FaultKind.CLOCK}
SIDE_BY_SIDE = 25


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose time begins at 0, as the times of a plan do."""

    def __init__(self) -> None:
        self._zero = 0.0
        super().__init__()
        self._zero = super().time()

    def time(self) -> float:
        return super().time() - self._zero


async def _run(seed: int, client: Redis, looks: redis.Redis) -> list[str]:
    plan = plan_for(
        seed, only=KINDS, horizon=8.0, tick=0.1, defer_max_seconds=1.0, hold_seconds=2.0
    )
    limits = {
        "most": plan.settings["parked_events_max"],
        "most_events": plan.settings["deferred_events_max"],
    }
    identity = Identity("ns.example.net", f"model{seed}", "$Default")
    rng = Random(seed)  # noqa: S311 - no secret
    cluster = RedisCluster(rng, client, looks, identity, limits)
    world = World(plan, cluster, identity=identity)
    await world.run()
    return world.sink.faults


async def _run_all(url: str, seeds: range) -> dict[int, list[str]]:
    async with Redis.from_url(url) as client:
        with redis.Redis.from_url(url) as looks:
            found = await asyncio.gather(*(_run(seed, client, looks) for seed in seeds))
    return {seed: faults[:3] for seed, faults in zip(seeds, found, strict=True) if faults}


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, 150, SIDE_BY_SIDE))
def test_runs_on_redis_break_no_promise(redis_url: str, first: int) -> None:
    logging.disable(logging.CRITICAL)
    try:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            assert runner.run(_run_all(redis_url, range(first, first + SIDE_BY_SIDE))) == {}
    finally:
        logging.disable(logging.NOTSET)
