"""Goal P13 on a simulated clock: an outage opens the circuit, however few keys are in flight.

The time counts from the start of the first call that fails. A call that hangs adds its own time:
the rule needs ten attempts.
"""

from __future__ import annotations

import math
from functools import partial

import pytest

from breaker import BreakerSettings
from tests.unit.breaker.simulation.downstream import KEYLESS, Downstream, Outcome, between, fixed
from tests.unit.breaker.simulation.fleet import Fleet
from tests.unit.breaker.simulation.runs import broken_runs, sweep
from tests.unit.breaker.simulation.traffic import arrive_at_once, arrive_at_random, names
from tests.unit.breaker.simulation.world import World

SETTINGS = BreakerSettings()
MARGIN_SECONDS = 5.0


def outage(
    seed: int, *, keys: list[str], within: float, partitions: int = 8, hangs: float = 0.0
) -> str | None:
    """Let everything fail while each key has an event in flight; say if the opening is late.

    In some runs, five bad keys have stepped aside before the outage, an instance restarts during
    the outage, or the handler raises ordinary errors.
    """
    world = World(seed)
    rng = world.rng
    begin = rng.uniform(20, 60)
    deferring = seed % 2 == 0
    bad_keys = [f"bad-{number}" for number in range(5)] if seed % 4 == 0 else []
    downstream = Downstream(
        duration=between(0.01, rng.choice([0.1, 0.4])),
        bad_keys=frozenset(bad_keys),
        fail_duration=fixed(hangs) if hangs else between(0.001, 0.05),
        outages=[(begin, math.inf)],
        outage_outcome=Outcome.ORDINARY if seed % 4 == 1 else Outcome.DEPENDENCY,
    )
    fleet = Fleet(
        world,
        downstream,
        instances=rng.randint(2, 3),
        partitions=rng.randint(1, min(partitions, len(keys))),
        deferring=deferring,
    )
    if bad_keys:
        arrive_at_random(fleet, bad_keys, 1.0)
    world.at(begin, fleet.forget_failures)
    if seed % 3 == 0 and not hangs:
        world.at(begin + rng.uniform(0, 20), partial(fleet.restart, 0, rng.uniform(1, 10)))
    rate = rng.uniform(1, 4)
    arrive_at_random(fleet, keys, rate, end=begin - 4)
    arrive_at_once(fleet, keys, begin - 0.001)
    arrive_at_random(fleet, keys, rate, start=begin)
    world.run(begin + within + 1)
    return late(fleet, within)


def late(fleet: Fleet, within: float) -> str | None:
    after = fleet.opened_after()
    if after is None or after > within:
        return f"opened after {after} s ({'deferring' if fleet.deferring else 'in place'})"
    return None


@sweep(6, 100)
def test_hundred_keys_in_flight_open_within_five_seconds(runs: int) -> None:
    assert broken_runs(partial(outage, keys=names(100), within=5), runs) == []


@sweep(6, 100)
@pytest.mark.parametrize("keys", [4, 3, 2, 1])
def test_few_keys_in_flight_open_soon_after_the_window(keys: int, runs: int) -> None:
    within = SETTINGS.window_seconds + MARGIN_SECONDS
    assert broken_runs(partial(outage, keys=names(keys), within=within), runs) == []


@sweep(6, 100)
def test_keyless_hub_with_one_partition_opens_soon_after_the_window(runs: int) -> None:
    within = SETTINGS.window_seconds + MARGIN_SECONDS
    scenario = partial(outage, keys=[KEYLESS], partitions=1, within=within)
    assert broken_runs(scenario, runs) == []


@sweep(6, 100)
def test_keyless_partition_counts_as_two_keys(runs: int) -> None:
    """The call of another key hangs since before the outage, so one key would not suffice."""

    def scenario(seed: int) -> str | None:
        world = World(seed)
        begin = world.rng.uniform(20, 60)
        downstream = Downstream(
            outages=[(begin, math.inf)], bad_keys=["hangs-1"], bad_duration=fixed(600)
        )
        fleet = Fleet(world, downstream, partitions=2)
        keyless, other = fleet.partitions
        arrive_at_random(fleet, [KEYLESS], 3.0, among=[keyless])
        world.at(begin - 1, partial(other.arrive, "hangs-1"))
        world.at(begin, fleet.forget_failures)
        world.run(begin + 60)
        return late(fleet, SETTINGS.window_seconds + MARGIN_SECONDS)

    assert broken_runs(scenario, runs) == []


@sweep(6, 100)
@pytest.mark.parametrize("keys", [100, 4, 1])
def test_calls_that_hang_add_their_own_time(keys: int, runs: int) -> None:
    own_time = 10.0 * math.ceil(SETTINGS.standstill_failures / keys)
    within = SETTINGS.window_seconds + MARGIN_SECONDS + own_time
    assert broken_runs(partial(outage, keys=names(keys), within=within, hangs=10), runs) == []


@sweep(6, 100)
def test_outage_opens_although_each_partition_waits_for_one_key(runs: int) -> None:
    """The events arrive one by one, so the first batch of each partition holds one key."""

    def scenario(seed: int) -> str | None:
        world = World(seed)
        begin = world.rng.uniform(20, 60)
        downstream = Downstream(duration=between(0.01, 0.1), outages=[(begin, math.inf)])
        fleet = Fleet(world, downstream, instances=2, partitions=4, deferring=seed % 2 == 0)
        arrive_at_random(fleet, names(50), world.rng.uniform(4, 20))
        world.run(begin + 60)
        return late(fleet, SETTINGS.window_seconds + MARGIN_SECONDS)

    assert broken_runs(scenario, runs) == []
