"""Measurements of contenders in rotation, and the statistics of these measurements."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

type Contender = Callable[[], Awaitable[float]]
"""A function that runs once and returns its measurement."""


async def interleaved(
    contenders: Mapping[str, Contender],
    rounds: int,
    advance: Callable[[], None],
    *,
    warm_up: bool = True,
) -> dict[str, list[float]]:
    """Run every contender once per round, and start each round with the next contender.

    A slow period of the machine then affects all contenders, and no contender always runs after
    the same other contender.

    Args:
        contenders: the functions to measure, by name.
        rounds: the number of measurements per contender.
        advance: called after each run, warm-up included.
        warm_up: whether to run each contender once before, for connections, caches and scripts.

    Returns:
        The measurements by contender, in the order in which they were taken.
    """
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    if warm_up:
        for run in contenders.values():
            await run()
            advance()
    names = list(contenders)
    for number in range(rounds):
        for name in rotated(names, number):
            measured[name].append(await contenders[name]())
            advance()
    return measured


def rotated[T](items: Sequence[T], by: int) -> list[T]:
    """Return the items rotated to the left by `by` places."""
    if not items:
        return []
    by %= len(items)
    return [*items[by:], *items[:by]]


async def seconds_each(call: Callable[[], Awaitable[object]], times: int) -> float:
    """Return the seconds per call of `times` sequential calls."""
    started = time.perf_counter()
    for _ in range(times):
        await call()
    return (time.perf_counter() - started) / times


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the middle two values.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("the median takes at least one measurement, but there is none")
    return statistics.median(values)


def medians(measured: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median of each contender's measurements."""
    return {name: median(values) for name, values in measured.items()}


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile, the least value that `percent` % do not exceed.

    Raises:
        ValueError: there are no values, or the percentage is not above 0 and at most 100.
    """
    if not values or not 0 < percent <= 100:
        raise ValueError(
            f"percentile {percent:g} of {len(values)} values is undefined; "
            "it takes 0 < percent <= 100 and at least one value"
        )
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def spread(values: Sequence[float]) -> float:
    """Return the width of the middle half of the measurements as a share of the median.

    A spread of 0.1 means that half of the measurements lie within a band as wide as 10 % of the
    median. The spread of fewer than four measurements is 0.
    """
    if len(values) < 4 or not median(values):
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / median(values)


def steady_rate(
    timeline: Sequence[tuple[float, int]], total: int, *, first: float = 0.1, last: float = 0.9
) -> float:
    """Return the events per second between the shares `first` and `last` of `total`.

    Args:
        timeline: (seconds, events finished by then), both increasing.
        total: the number of events.
        first: the share at which the steady part begins, 0 or more.
        last: the share at which the steady part ends, at most 1.

    Raises:
        ValueError: the shares are out of range, or the timeline does not cover the steady part.
    """
    if not 0 <= first < last <= 1:
        raise ValueError(
            f"the steady part from {first:g} to {last:g} is invalid; "
            "it takes 0 <= first < last <= 1"
        )
    points = iter(timeline)
    begin = next((point for point in points if point[1] >= first * total), None)
    end = next((point for point in points if point[1] >= last * total), None)
    if begin is None or end is None or end[0] <= begin[0]:
        raise ValueError(f"the timeline does not cover {first:.0%} to {last:.0%} of {total} events")
    return (end[1] - begin[1]) / (end[0] - begin[0])


async def in_turn(
    calls: Mapping[str, Callable[[], Awaitable[object]]], times: int
) -> dict[str, list[float]]:
    """Return the seconds of each single call, rotating the contenders after every call.

    Calls of microseconds need a finer rotation than `interleaved`, so that both sides of a ratio
    are measured under the same load of the machine.
    """
    measured: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls.items())
    clock = time.perf_counter
    for number in range(times):
        for name, call in rotated(order, number):
            started = clock()
            await call()
            measured[name].append(clock() - started)
    return measured
