"""Traffic that is rare, slow or interrupted: what opens late, and what does not open."""

from __future__ import annotations

import math

from breaker import BreakerSettings
from breaker.standstill import QUIET_MAX_US
from tests.unit.breaker.simulation.downstream import Downstream, between, fixed
from tests.unit.breaker.simulation.fleet import Fleet
from tests.unit.breaker.simulation.runs import broken_runs, opening, sweep
from tests.unit.breaker.simulation.traffic import (
    arrive_at_once,
    arrive_at_random,
    arrive_each,
    names,
)
from tests.unit.breaker.simulation.world import SECOND, World

SETTINGS = BreakerSettings()


@sweep(4, 50)
def test_outage_in_a_quiet_night_opens_after_ten_minutes_at_the_latest(runs: int) -> None:
    """Ten times the usual gap would be hours."""
    within = QUIET_MAX_US / SECOND + SETTINGS.window_seconds

    def scenario(seed: int) -> str | None:
        world = World(seed)
        rng = world.rng
        gap = rng.uniform(90, 300)
        begin = 1_800 + rng.uniform(0, 300)
        downstream = Downstream(outages=[(begin, math.inf)])
        fleet = Fleet(world, downstream, partitions=rng.randint(1, 4), deferring=seed % 2 == 0)
        arrive_each(fleet, names(4), gap)
        world.run(begin + gap + within)
        after = fleet.opened_after()
        return None if after is not None and after <= within else f"opened after {after} s"

    assert broken_runs(scenario, runs) == []


@sweep(4, 50)
def test_outage_that_is_shorter_than_the_window_does_not_open(runs: int) -> None:
    """Nothing has succeeded for minutes, because no event has arrived."""

    def scenario(seed: int) -> str | None:
        world = World(seed)
        rng = world.rng
        begin = 300.0
        length = rng.uniform(5, SETTINGS.window_seconds - 5)
        downstream = Downstream(duration=between(0.01, 1), outages=[(begin, begin + length)])
        fleet = Fleet(world, downstream, partitions=rng.randint(1, 4), deferring=False)
        keys = names(rng.randint(1, 20))
        arrive_at_random(fleet, keys, 5.0, end=120)
        arrive_at_once(fleet, keys, begin + 0.001)
        world.run(begin + 60)
        return opening(fleet)

    assert broken_runs(scenario, runs) == []


@sweep(4, 50)
def test_calls_that_become_slow_beside_one_bad_key_do_not_open(runs: int) -> None:
    """Other keys are running, so one key alone does not show that nothing works."""

    def scenario(seed: int) -> str | None:
        world = World(seed)
        rng = world.rng
        downstream = Downstream(
            duration=between(0.1, 0.15),
            slowness=lambda seconds: 1.0 if seconds < 60 else 400.0,
            bad_keys=["bad-0"],
        )
        count = rng.randint(1, 4)
        fleet = Fleet(world, downstream, partitions=count, deferring=False)
        arrive_at_random(fleet, names(20), 10.0, end=59)
        arrive_at_once(fleet, ["bad-0", *names(20)], 60.0)
        world.run(160)
        return opening(fleet)

    assert broken_runs(scenario, runs) == []


@sweep(4, 50)
def test_handlers_that_become_slower_in_step_do_not_open(runs: int) -> None:
    """The calls of each batch last up to 1.6 times as long as any call before."""

    def scenario(seed: int) -> str | None:
        world = World(seed)
        rng = world.rng
        growth = rng.uniform(1.2, 1.6)
        downstream = Downstream(
            duration=between(20, 21),
            slowness=lambda seconds: min(5.0, growth ** (seconds // 60)),
            bad_keys=names(2),
        )
        fleet = Fleet(world, downstream, instances=4, partitions=4, deferring=False)
        keys = [f"healthy-{number}" for number in range(80)]
        for turn in range(12):
            arrive_at_once(fleet, keys, 30.0 * turn)
        arrive_at_random(fleet, names(2), 1.0, start=40.0, among=fleet.partitions[:2])
        world.run(400)
        return opening(fleet)

    assert broken_runs(scenario, runs) == []


@sweep(4, 50)
def test_event_whose_first_calls_time_out_does_not_open(runs: int) -> None:
    """The last event before a break times out three times, and then succeeds."""

    def scenario(seed: int) -> str | None:
        world = World(seed)
        rng = world.rng
        begin = 60.0
        timeout = rng.uniform(20, 60)
        downstream = Downstream(
            duration=between(0.01, 0.2),
            fail_duration=fixed(timeout),
            outages=[(begin, begin + rng.uniform(0, 2.9) * timeout)],
        )
        fleet = Fleet(world, downstream, partitions=2, deferring=False)
        arrive_at_random(fleet, names(10), 5.0, end=begin - 1)
        arrive_at_once(fleet, names(1), begin)
        world.run(begin + 5 * timeout)
        return opening(fleet)

    assert broken_runs(scenario, runs) == []
