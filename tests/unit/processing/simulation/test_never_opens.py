"""C12: bad keys among healthy ones never open the circuit, and delay only themselves.

In each run the healthy keys' events are all handled, and each key's events stay in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support.jumping_loop import run_with_all_clocks
from tests.unit.processing.simulation.fleet import Downstream, Fleet, names, running_fleet
from tests.unit.processing.simulation.runs import seeds

BAD = names(10, "bad")
GOOD = names(20, "good")
SECONDS = 70.0
SETTLE_SECONDS = 20.0

type Happening = Callable[[Fleet], Coroutine[Any, Any, None]]


async def nothing(_fleet: Fleet) -> None:
    """Let nothing happen."""


def problem(
    seed: int,
    *,
    bad: tuple[str, ...] = BAD,
    partitions: int | None = None,
    instances: int | None = None,
    happening: Happening = nothing,
    heals: bool = False,
) -> str | None:
    """Return what is wrong with a run of bad keys among healthy ones; None if nothing.

    Args:
        seed: decides about rates, durations, partitions and instances.
        bad: the keys whose calls fail.
        partitions: the number of partitions; None: by the seed.
        instances: the number of instances; None: by the seed.
        happening: runs beside the traffic.
        heals: whether the bad keys' calls succeed in the end; then their events must be handled.
    """

    async def main() -> str | None:
        fleet = Fleet(
            Downstream(bad_keys=frozenset(bad)), partitions=partitions or 1 + seed % 4, seed=seed
        )
        down, rng = fleet.downstream, fleet.rng
        down.seconds = lambda: rng.uniform(0.01, 0.4)
        hangs = rng.choice([0.0, 2.0])
        down.down_seconds = lambda: hangs or rng.uniform(0.001, 0.05)
        async with running_fleet(fleet, instances or 1 + seed // 2 % 3):
            beside = asyncio.create_task(happening(fleet))
            rate = rng.uniform(2, 10)
            while fleet.now < SECONDS:
                fleet.send(rng.choice(GOOD))
                if rng.random() < 0.3:
                    fleet.send(rng.choice(bad))
                await asyncio.sleep(1 / rate)
            await beside
            if heals:
                down.bad_keys = frozenset()
                await settle(fleet, (*GOOD, *bad))
            else:
                await settle(fleet, GOOD)
            keys = (*GOOD, *bad) if heals else GOOD
            if missing := fleet.missing(keys):
                return f"{missing} events wait"
            return await fleet.problem()

    return run_with_all_clocks(main())


async def settle(fleet: Fleet, keys: tuple[str, ...]) -> None:
    """Wait until the events of some keys are handled, for as long as the longest pause."""
    give_up_at = fleet.now + fleet.settings.defer_max_seconds + SETTLE_SECONDS
    while fleet.missing(keys) and fleet.now < give_up_at:
        await asyncio.sleep(1)


@seeds(2, 12)
def test_bad_keys_among_healthy_keys(seed: int) -> None:
    assert problem(seed) is None


@seeds(1, 8)
def test_one_bad_key_in_one_partition(seed: int) -> None:
    assert problem(seed, bad=BAD[:1], partitions=1) is None


@seeds(1, 8)
@pytest.mark.parametrize("bad", [1, 2, 5])
def test_partition_continues_within_the_time_in_place(seed: int, bad: int) -> None:
    """Several bad keys keep each other's batch from ending; a single one is deferred at once."""

    async def main() -> tuple[float, float]:
        keys = names(100)
        fleet = Fleet(Downstream(bad_keys=frozenset(keys[:bad])), seed=seed)
        fleet.downstream.seconds = lambda: 0.001
        async with running_fleet(fleet):
            while fleet.now < 90:
                fleet.send(fleet.rng.choice(keys))
                await asyncio.sleep(fleet.rng.uniform(0, 0.1))
            assert fleet.missing(keys[bad:]) <= 1
            return fleet.longest_pause, fleet.settings.defer_after_seconds

    pause, in_place = run_with_all_clocks(main())
    assert pause <= in_place + 2


@seeds(1, 12)
def test_bad_keys_come_back_in_order(seed: int) -> None:
    assert problem(seed, bad=BAD[:3], heals=True) is None


@seeds(1, 12)
def test_deploy_restarts_the_instances_one_after_another(seed: int) -> None:
    """The keys that an instance deferred are replayed by its successor."""

    async def deploy(fleet: Fleet) -> None:
        await asyncio.sleep(fleet.rng.uniform(20, 30))
        for instance in list(fleet.instances):
            await fleet.stop_instance(instance)
            await asyncio.sleep(fleet.rng.uniform(1, 5))
            await fleet.start_instance()
            fleet.share()

    assert problem(seed, bad=BAD[:4], happening=deploy, heals=True) is None


@seeds(1, 12)
def test_rebalance_runs_batches_again(seed: int) -> None:
    async def rebalance(fleet: Fleet) -> None:
        for _ in range(5):
            await asyncio.sleep(fleet.rng.uniform(2, 12))
            for partition in fleet.partitions:
                if fleet.rng.random() < 0.5:
                    fleet.give(partition, fleet.rng.choice(fleet.instances))

    assert problem(seed, bad=BAD[:4], instances=2, happening=rebalance, heals=True) is None


@seeds(1, 12)
def test_night_with_one_event_a_minute_and_one_bad_key_in_ten(seed: int) -> None:
    async def main() -> str | None:
        keys = names(10)
        fleet = Fleet(Downstream(bad_keys=frozenset(keys[:1])), partitions=1 + seed % 4, seed=seed)
        fleet.downstream.seconds = lambda: fleet.rng.uniform(0.01, 5)
        async with running_fleet(fleet, 1 + seed % 2):
            for minute in range(30):
                await asyncio.sleep(60 * minute + fleet.rng.uniform(0, 20) - fleet.now)
                fleet.send(fleet.rng.choice(keys))
            await asyncio.sleep(60)
            if missing := fleet.missing(keys[1:]):
                return f"{missing} events wait"
            return await fleet.problem()

    assert run_with_all_clocks(main()) is None


@seeds(1, 12)
def test_bursts_with_long_breaks_between(seed: int) -> None:
    """In a break only the replays of the bad keys run, and all of them fail."""

    async def main() -> str | None:
        fleet = Fleet(Downstream(bad_keys=frozenset(BAD)), partitions=1 + seed % 4, seed=seed)
        down, rng = fleet.downstream, fleet.rng
        down.seconds = lambda: rng.uniform(0.01, 0.4)
        async with running_fleet(fleet, 1 + seed // 2 % 2):
            for _ in range(3):
                burst_ends = fleet.now + rng.uniform(20, 40)
                while fleet.now < burst_ends:
                    fleet.send(rng.choice(GOOD))
                    # The last events of a burst are healthy: without a success after a deferral,
                    # the failed replays are an outage.
                    if rng.random() < 0.3 and fleet.now < burst_ends - 15:
                        fleet.send(rng.choice(BAD))
                    await asyncio.sleep(rng.uniform(0.1, 0.5))
                await asyncio.sleep(rng.uniform(200, 400))
            if missing := fleet.missing(GOOD):
                return f"{missing} events wait"
            return await fleet.problem()

    assert run_with_all_clocks(main()) is None
