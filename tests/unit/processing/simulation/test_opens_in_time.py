"""C13, P13: an outage opens the circuit in time, at default settings, with deferring on."""

from __future__ import annotations

import asyncio
import math

import pytest

from breaker import BreakerSettings
from tests.support.jumping_loop import run_with_all_clocks
from tests.unit.processing.simulation.fleet import Downstream, Fleet, names, running_fleet
from tests.unit.processing.simulation.runs import seeds

HEALTHY_SECONDS = 60.0
TICK_SECONDS = 0.5
SETTINGS = BreakerSettings()
COUNT_LIMIT = 5.0
STANDSTILL_LIMIT = SETTINGS.window_seconds + 5.0
KEYLESS: tuple[str | None, ...] = (None,)


def seconds_to_open(
    seed: int, keys: tuple[str | None, ...], *, most: float, hangs: float = 0.0
) -> float:
    """Return the time from an outage of all keys until the circuit opens; infinite after `most`.

    An event of each key arrives at each tick, before and during the outage.

    Args:
        seed: decides about partitions, instances and durations.
        keys: the keys; None for events without a key.
        most: the longest time to wait for the opening.
        hangs: the duration of a call that fails; 0: the call fails at once.
    """

    async def main() -> float:
        fleet = Fleet(Downstream(), partitions=1 + seed % 4, seed=seed)
        down, rng = fleet.downstream, fleet.rng
        down.seconds = lambda: rng.uniform(0.01, 0.1)
        down.down_seconds = lambda: hangs or rng.uniform(0.001, 0.05)
        async with running_fleet(fleet, 1 + seed // 2 % 2):
            begins = down.down_from = HEALTHY_SECONDS + rng.uniform(0, 2)
            while fleet.now < begins + most:
                for key in keys:
                    fleet.send(key)
                await asyncio.sleep(TICK_SECONDS)
                if fleet.now >= begins and (opened := await fleet.opened_at()) is not None:
                    return opened - begins
        return math.inf

    return run_with_all_clocks(main())


@seeds(1, 8)
def test_hundred_keys_in_flight_open_within_five_seconds(seed: int) -> None:
    assert seconds_to_open(seed, names(100), most=COUNT_LIMIT + 1) <= COUNT_LIMIT


@seeds(2, 8)
@pytest.mark.parametrize(
    "keys", [names(4), names(3), names(2), names(1), KEYLESS], ids=["4", "3", "2", "1", "keyless"]
)
def test_few_keys_in_flight_open_soon_after_the_window(
    keys: tuple[str | None, ...], seed: int
) -> None:
    limit = STANDSTILL_LIMIT
    assert seconds_to_open(seed, keys, most=limit + 1) <= limit


@seeds(1, 8)
@pytest.mark.parametrize("keys", [names(4), names(1), KEYLESS], ids=["4", "1", "keyless"])
def test_calls_that_hang_add_their_own_time(keys: tuple[str | None, ...], seed: int) -> None:
    """The standstill rule needs ten attempts."""
    own = 5.0 * math.ceil(SETTINGS.standstill_failures / len(keys))
    limit = STANDSTILL_LIMIT + own
    assert seconds_to_open(seed, keys, most=limit + 1, hangs=5.0) <= limit
