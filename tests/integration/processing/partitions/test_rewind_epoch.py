"""A rewind ends the epoch of a partition in a real Redis, on each path."""

from __future__ import annotations

import time

import pytest
from redis.asyncio import Redis

from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import position_of
from processing.parking.marks import Oldest, ParkingMark
from processing.parking.memory_marks import MemoryMarkStore
from processing.parking.redis import RedisParkingStore
from processing.parking.store import WritingAs
from processing.partitions.checkpoints import Checkpoint
from processing.partitions.rewind import Rewind
from processing.partitions.rewind_stores import RewindStores
from processing.poison.discard_records import DiscardRecords
from processing.poison.memory import MemoryClaimChecks
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark
from tests.support.processing.events import IDENTITY, SOURCE, event
from tests.support.processing.rewind_rig import Checkpoints, Positions

FUTURE_MS = 3_600_000
"""The event's enqueued time is after the rewind, so that only the epoch decides."""


@pytest.mark.parametrize("to", ["start", "number", "mark"])
async def test_rewind_ends_the_epoch_of_a_real_redis(redis_url: str, to: str) -> None:
    """A replay and a batch of before the rewind note nothing when they finish after it."""
    async with Redis.from_url(redis_url) as client:
        progress = RedisProgressStore(client, ttl_seconds=600)
        parking = RedisParkingStore(client, most=10, ttl_seconds=600, identity=IDENTITY)
        marks, checkpoints = MemoryMarkStore(), Checkpoints()
        checkpoints.known["0"] = Checkpoint(49, "4900")
        rewind = Rewind(
            RewindStores(
                checkpoints=checkpoints,
                positions=Positions(),
                progress=progress,
                parking=parking,
                marks=marks,
                discards=DiscardRecords(MemoryClaimChecks()),
                identity=IDENTITY,
            )
        )
        claim = await parking.claim(SOURCE)
        later = event(40, enqueued_ms=time.time_ns() // 1_000_000 + FUTURE_MS)
        for each in (later, event(41, enqueued_ms=later.enqueued_ms)):
            await parking.defer(
                *(WritingAs(claim.owner, ""), SOURCE, "k", (position_of(each), "p")),
                deferral=Deferral(DeferralReason.DEPENDENCY),
                pause_seconds=1.0,
            )
        lease = await parking.lease(SOURCE, "k", "token", 60_000)
        assert lease is not None
        if to == "mark":
            mark = ParkingMark(SOURCE, "lost", Oldest(40, later.enqueued_ms), 1)
            await marks.write(mark, None)
            plan = await rewind.plan_to_marks(["0"])
        else:
            plan = await rewind.plan(["0"], 30 if to == "number" else None)
        await rewind.run(plan.steps)

        await parking.finish(*(SOURCE, "k", "token", position_of(later)), epoch=lease.epoch)
        mine = Mark(49, event(49).enqueued_ms)
        assert not await progress.commit(SOURCE, claim.owner, mine, [mine])
        after = await parking.claim(SOURCE, ["k"])
        assert after.replayed == {}
        assert after.progress.watermark is None
        assert after.progress.finished == {}
        assert after.progress.created_ms == Positions.created
