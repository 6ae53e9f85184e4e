"""Bad keys among healthy ones never open the circuit, whatever the traffic looks like.

A bad key steps aside after some time (`deferring`), or is kept in place and holds its partition.
In place, at least one partition has no bad key: if each partition waits for a bad key, nothing
succeeds any more, and the circuit rightly opens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.unit.breaker.simulation.downstream import Downstream, Outcome, between, fixed
from tests.unit.breaker.simulation.fleet import Fleet
from tests.unit.breaker.simulation.runs import LONG, broken_runs, opening, sweep
from tests.unit.breaker.simulation.stream import Stream
from tests.unit.breaker.simulation.traffic import arrive_at_once, arrive_at_random, names, place
from tests.unit.breaker.simulation.world import World


def deferring_or_in_place(many: int) -> pytest.MarkDecorator:
    """Return the parameters `deferring` and `runs`; runs in place are fewer."""
    values = [
        pytest.param(True, 8, id="deferring-8-runs"),
        pytest.param(True, many, id=f"deferring-{many}-runs", marks=LONG),
        pytest.param(False, 4, id="in-place-4-runs"),
        pytest.param(False, 50, id="in-place-50-runs", marks=LONG),
    ]
    return pytest.mark.parametrize(("deferring", "runs"), values)


def mixed(
    seed: int,
    *,
    bad: int,
    deferring: bool,
    partitions: int | None = None,
    duration: tuple[float, float] = (0.01, 0.5),
    seconds: float = 50.0,
    happening: Callable[[Fleet], None] = lambda _fleet: None,
) -> str | None:
    """Let healthy traffic of 1 to 1,000 events a second run among the events of bad keys."""
    world = World(seed)
    rng = world.rng
    bad_keys = names(bad)
    low, high = sorted((rng.uniform(*duration), rng.uniform(*duration)))
    downstream = Downstream(
        duration=between(low, high),
        bad_keys=frozenset(bad_keys),
        bad_duration=rng.choice([between(0.001, 0.05), fixed(2.0), fixed(10.0)]),
    )
    count = partitions or rng.choice([4, 6])
    fleet = Fleet(
        world, downstream, instances=rng.randint(1, 4), partitions=count, deferring=deferring
    )
    total = 10 ** rng.uniform(0, 3)
    stream_keys = rng.choice([1, 10, 100, 1000])
    for partition in fleet.partitions:
        partition.flow(
            Stream([(0.0, total / count)], keys=stream_keys, duration=downstream.duration)
        )
    held = fleet.partitions if deferring else fleet.partitions[: max(1, count // 2)]
    arrive_at_random(fleet, bad_keys, rng.uniform(0.2, 5), among=held)
    happening(fleet)
    world.run(seconds)
    return opening(fleet)


@deferring_or_in_place(1_000)
@pytest.mark.parametrize("bad", [10, 18])
def test_bad_keys_among_healthy_keys(bad: int, deferring: bool, runs: int) -> None:
    assert broken_runs(partial(mixed, bad=bad, deferring=deferring), runs) == []


@sweep(8, 1_000)
def test_bad_keys_in_one_partition(runs: int) -> None:
    scenario = partial(mixed, bad=10, deferring=True, partitions=1)
    assert broken_runs(scenario, runs) == []


@deferring_or_in_place(400)
def test_bad_keys_whose_events_are_poisoned(deferring: bool, runs: int) -> None:
    """An ordinary error holds no partition; two such events a second stay below the count rule."""

    def scenario(seed: int) -> str | None:
        world = World(seed)
        rng = world.rng
        bad_keys = names(10)
        downstream = Downstream(
            duration=between(0.01, 1),
            bad_keys=frozenset(bad_keys),
            bad_outcome=Outcome.ORDINARY,
        )
        fleet = Fleet(world, downstream, partitions=rng.randint(1, 4), deferring=deferring)
        for partition in fleet.partitions:
            rate = rng.uniform(0.3, 10)
            partition.flow(Stream([(0.0, rate)], keys=100, duration=downstream.duration))
        arrive_at_random(fleet, bad_keys, rng.uniform(0.2, 2))
        world.run(60)
        return opening(fleet)

    assert broken_runs(scenario, runs) == []


@sweep(8, 1_000)
def test_night_with_one_event_a_minute_and_one_bad_key_in_ten(runs: int) -> None:
    def scenario(seed: int) -> str | None:
        world = World(seed)
        rng = world.rng
        keys = names(10)
        downstream = Downstream(duration=between(0.01, 5), bad_keys=frozenset(keys[:1]))
        fleet = Fleet(
            world,
            downstream,
            instances=rng.randint(1, 2),
            partitions=rng.randint(1, 4),
            deferring=True,
        )
        for minute in range(30):
            key = rng.choice(keys)
            partition = place(key, fleet.partitions)
            world.at(
                60 * minute + rng.uniform(0, 20),
                partial(partition.arrive, key),
            )
        world.run(1_800)
        return opening(fleet)

    assert broken_runs(scenario, runs) == []


@deferring_or_in_place(1_000)
def test_deploy_restarts_the_instances_one_after_another(deferring: bool, runs: int) -> None:
    def deploy(fleet: Fleet) -> None:
        at = fleet.world.rng.uniform(20, 40)
        away = fleet.world.rng.uniform(2, 20)
        for index in range(len(fleet.instances)):
            fleet.world.at(at, partial(fleet.restart, index, away))
            at += away + 1

    scenario = partial(
        mixed, bad=10, deferring=deferring, duration=(0.1, 10), seconds=80, happening=deploy
    )
    assert broken_runs(scenario, runs) == []


@deferring_or_in_place(1_000)
def test_rebalance_runs_batches_again(deferring: bool, runs: int) -> None:
    def rebalance(fleet: Fleet) -> None:
        rng = fleet.world.rng

        def move() -> None:
            for partition in fleet.partitions:
                if rng.random() < 0.5:
                    partition.move(rng.choice(fleet.instances))

        for _ in range(5):
            fleet.world.at(rng.uniform(5, 40), move)

    scenario = partial(mixed, bad=10, deferring=deferring, duration=(0.1, 10), happening=rebalance)
    assert broken_runs(scenario, runs) == []


def slow(seed: int, *, jitter: float | None, deferring: bool, warm: bool = True) -> str | None:
    """Let handlers need 45 s, beside two or three bad keys.

    Args:
        seed: the run.
        jitter: greatest deviation from 45 s; None: the handlers are not in step.
        deferring: see `Fleet`.
        warm: whether some events succeed before a bad key fails.
    """
    world = World(seed)
    rng = world.rng
    bad_keys = names(3)[: rng.randint(1, 3)]
    spread = 0.0 if jitter is None else jitter
    duration = between(45 - spread, 45 + spread)
    downstream = Downstream(duration=duration, bad_keys=frozenset(bad_keys))
    count = rng.randint(2, 8)
    fleet = Fleet(
        world, downstream, instances=rng.randint(1, 4), partitions=count, deferring=deferring
    )
    keys = [f"healthy-{number}" for number in range(rng.choice([count, 20, 100]))]
    for turn in range(6):
        for key in keys:
            partition = place(key, fleet.partitions)
            at = turn * 45.0 if jitter is not None else turn * 45.0 + rng.uniform(0, 45)
            world.at(at, partial(partition.arrive, key))
    held = fleet.partitions if deferring else fleet.partitions[: count // 2]
    begin = 100.0 if warm else 0.0
    arrive_at_once(fleet, bad_keys, begin, among=held)
    arrive_at_random(fleet, bad_keys, 1.0, start=begin, among=held)
    world.run(250)
    return opening(fleet)


@deferring_or_in_place(1_000)
def test_handlers_that_need_45_seconds(deferring: bool, runs: int) -> None:
    """The handlers are in step, with more and more jitter, or not in step."""
    jitters = [0.0, 0.2, 2.0, 5.0, 10.0, None]

    def scenario(seed: int) -> str | None:
        return slow(seed, jitter=jitters[seed % len(jitters)], deferring=deferring)

    assert broken_runs(scenario, runs) == []


@deferring_or_in_place(400)
def test_fresh_circuit_with_slow_handlers(deferring: bool, runs: int) -> None:
    scenario = partial(slow, jitter=5.0, deferring=deferring, warm=False)
    assert broken_runs(scenario, runs) == []


@sweep(8, 300)
def test_bursts_with_long_breaks_between(runs: int) -> None:
    """The bad keys are bad from the first burst on."""

    def scenario(seed: int) -> str | None:
        world = World(seed)
        rng = world.rng
        bad_keys = names(10)
        downstream = Downstream(duration=between(0.01, 1), bad_keys=frozenset(bad_keys))
        count = rng.randint(1, 8)
        fleet = Fleet(
            world, downstream, instances=rng.randint(1, 4), partitions=count, deferring=True
        )
        every, length = rng.uniform(60, 300), rng.uniform(2, 20)
        rate = 10 ** rng.uniform(0, 2)
        rates = [(0.0, rate), (60.0, 0.0)]
        arrive_at_random(fleet, bad_keys, 2.0, end=60)
        at = 60.0
        while at < 300:
            at += every
            rates += [(at, rate), (at + length, 0.0)]
            arrive_at_random(fleet, bad_keys, 2.0, start=at, end=at + length)
        for partition in fleet.partitions:
            partition.flow(
                Stream(
                    [(start, each / count) for start, each in rates],
                    keys=50,
                    duration=downstream.duration,
                )
            )
        world.run(300)
        return opening(fleet)

    assert broken_runs(scenario, runs) == []
