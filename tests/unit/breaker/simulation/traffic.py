"""Arrivals of events at the partitions of a simulated fleet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from tests.unit.breaker.simulation.fleet import Fleet
from tests.unit.breaker.simulation.partition import Partition
from tests.unit.breaker.simulation.world import us


def names(count: int) -> list[str]:
    """Return the names of some keys."""
    return [f"key-{number}" for number in range(count)]


def place(key: str, partitions: Sequence[Partition]) -> Partition:
    """Return the partition of a key, by the number at the end of its name."""
    number = int(key.rpartition("-")[2]) if key else 0
    return partitions[number % len(partitions)]


def arrive_at_random(
    fleet: Fleet,
    keys: Sequence[str],
    rate: float,
    *,
    start: float = 0.0,
    end: float = math.inf,
    among: Sequence[Partition] = (),
) -> None:
    """Let events of random keys arrive at random times.

    Args:
        fleet: the fleet.
        keys: the keys.
        rate: events a second, on average.
        start: seconds since the start of the world.
        end: seconds since the start of the world.
        among: the partitions of the keys; default all.
    """
    world = fleet.world
    partitions = among or fleet.partitions

    def arrive() -> None:
        if world.seconds < end:
            key = world.rng.choice(keys)
            place(key, partitions).arrive(key)
            world.after(us(world.rng.expovariate(rate)), arrive)

    world.at(start + world.rng.expovariate(rate), arrive)


def arrive_at_once(
    fleet: Fleet, keys: Sequence[str], seconds: float, *, among: Sequence[Partition] = ()
) -> None:
    """Let an event of each key arrive at one time."""
    for key in keys:
        fleet.world.at(seconds, partial(place(key, among or fleet.partitions).arrive, key))


def arrive_each(fleet: Fleet, keys: Sequence[str], gap: float) -> None:
    """Let an event of a random key arrive each `gap` seconds, a tenth earlier or later."""
    world = fleet.world

    def arrive() -> None:
        key = world.rng.choice(keys)
        place(key, fleet.partitions).arrive(key)
        world.after(us(gap * world.rng.uniform(0.9, 1.1)), arrive)

    world.at(world.rng.uniform(0, gap), arrive)
