"""An approval closes the circuit although some keys are dead, and opens again during an outage."""

from __future__ import annotations

import math

import pytest

from breaker import BreakerSettings, CircuitState
from tests.unit.breaker.simulation.downstream import Downstream, between, fixed
from tests.unit.breaker.simulation.fleet import Fleet
from tests.unit.breaker.simulation.instance import done
from tests.unit.breaker.simulation.runs import broken_runs, sweep
from tests.unit.breaker.simulation.traffic import arrive_at_once, arrive_at_random, names
from tests.unit.breaker.simulation.world import World

DEAD_RATIO = 0.05
FAILS_AT = 20.0
RECOVERED_AT = 75.0
APPROVED_AT = 80.0
CLOSED_WITHIN = 300.0
PERCENT_CLOSED = 95


def approve(fleet: Fleet) -> None:
    """Approve the open generation, as an operator does."""
    assert fleet.state is CircuitState.OPEN
    breaker = fleet.instances[0].breaker
    done(breaker.approve(breaker.circuit.generation, "ann"))


def outage(
    seed: int, *, keys: int, instances: int, partitions: int, recovers: bool, dead_first: bool
) -> Fleet:
    """Return a fleet whose circuit an outage has opened; 5 % of the keys stay dead for good.

    Args:
        seed: the run.
        keys: number of keys.
        instances: number of instances.
        partitions: number of partitions.
        recovers: whether the outage ends before the approval.
        dead_first: whether each partition's backlog begins with the dead keys.
    """
    world = World(seed)
    rng = world.rng
    everyone = names(keys)
    dead = rng.sample(everyone, round(DEAD_RATIO * keys))
    downstream = Downstream(
        duration=between(0.01, rng.choice([0.1, 2.0])),
        fail_duration=rng.choice([between(0.001, 0.05), fixed(3.0)]),
        outages=[(FAILS_AT, RECOVERED_AT if recovers else math.inf)],
        bad_keys=frozenset(dead),
    )
    fleet = Fleet(
        world,
        downstream,
        instances=instances,
        partitions=partitions,
        deferring=seed % 2 == 0,
        stop_at_opening=False,
    )
    healthy = [key for key in everyone if key not in dead]
    arrive_at_random(fleet, healthy or everyone, max(2.0, keys / 10), end=FAILS_AT - 0.5)
    first, later = (dead, healthy) if dead_first else (rng.sample(everyone, keys), [])
    arrive_at_once(fleet, [*first, *later], FAILS_AT - 0.01)
    arrive_at_random(fleet, everyone, max(2.0, keys / 10), start=FAILS_AT)
    world.run(APPROVED_AT)
    return fleet


def not_closed(fleet: Fleet) -> str | None:
    """Approve, and return what happened instead of a closing."""
    approve(fleet)
    openings = len(fleet.opened)
    fleet.stop_at_closing = fleet.stop_at_opening = True
    fleet.world.run(APPROVED_AT + CLOSED_WITHIN)
    mode = "deferring" if fleet.deferring else "in place"
    if len(fleet.opened) > openings:
        return f"opened again ({mode}): {fleet.reason}"
    return None if fleet.closed else f"still {fleet.state} ({mode})"


@sweep(10, 125)
@pytest.mark.parametrize("dead_first", [True, False])
@pytest.mark.parametrize(
    ("keys", "instances", "partitions"),
    [(100, 2, 8), (20, 4, 8), (20, 1, 1)],
    ids=["many-keys", "few-keys", "one-partition"],
)
def test_approval_closes_although_some_keys_are_dead(
    keys: int, instances: int, partitions: int, dead_first: bool, runs: int
) -> None:
    def scenario(seed: int) -> str | None:
        return not_closed(
            outage(
                seed,
                keys=keys,
                instances=instances,
                partitions=partitions,
                recovers=True,
                dead_first=dead_first,
            )
        )

    broken = broken_runs(scenario, runs)
    assert len(broken) * 100 <= (100 - PERCENT_CLOSED) * runs, broken


@sweep(6, 125)
@pytest.mark.parametrize("keys", [3, 5])
def test_approval_closes_although_one_key_of_few_is_dead(keys: int, runs: int) -> None:
    """The dead key fails at once; the other probes need up to 30 s."""

    def scenario(seed: int) -> str | None:
        world = World(seed)
        rng = world.rng
        everyone = names(keys)
        slow = rng.uniform(0.1, 30)
        downstream = Downstream(
            duration=between(0.9, 1),
            slowness=lambda seconds: 0.1 if seconds < FAILS_AT else slow,
            outages=[(FAILS_AT, RECOVERED_AT)],
            bad_keys=everyone[:1],
        )
        fleet = Fleet(
            world, downstream, partitions=3, deferring=seed % 2 == 0, stop_at_opening=False
        )
        arrive_at_random(fleet, everyone[1:], 5.0, end=FAILS_AT - 0.5)
        arrive_at_once(fleet, everyone, FAILS_AT - 0.01)
        arrive_at_random(fleet, everyone, 5.0, start=FAILS_AT)
        world.run(APPROVED_AT)
        return not_closed(fleet)

    assert broken_runs(scenario, runs) == []


@sweep(4, 50)
@pytest.mark.parametrize("keys", [1, 4, 100])
def test_approval_opens_again_while_the_outage_lasts(keys: int, runs: int) -> None:
    def scenario(seed: int) -> str | None:
        fleet = outage(seed, keys=keys, instances=2, partitions=4, recovers=False, dead_first=False)
        approve(fleet)
        openings = len(fleet.opened)
        fleet.stop_at_opening = True
        fleet.world.run(APPROVED_AT + CLOSED_WITHIN)
        if fleet.closed:
            return "closed"
        return None if len(fleet.opened) > openings else f"still {fleet.state}"

    assert broken_runs(scenario, runs) == []


@sweep(4, 50)
def test_next_outage_opens_in_time_after_an_approval(runs: int) -> None:
    settings = BreakerSettings()

    def scenario(seed: int) -> str | None:
        world = World(seed)
        begin = APPROVED_AT + world.rng.uniform(40, 60)
        downstream = Downstream(outages=[(FAILS_AT, RECOVERED_AT), (begin, math.inf)])
        fleet = Fleet(
            world, downstream, partitions=4, deferring=seed % 2 == 0, stop_at_opening=False
        )
        arrive_at_random(fleet, names(4), 5.0)
        world.run(APPROVED_AT)
        approve(fleet)
        world.run(begin)
        if not fleet.closed:
            return f"still {fleet.state}"
        world.run(begin + settings.window_seconds + 5)
        return None if len(fleet.opened) == 2 else f"openings after {fleet.times()} s"

    assert broken_runs(scenario, runs) == []
