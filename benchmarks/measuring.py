"""Taking measurements: contenders in turn, several times; medians, because a machine has moods."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice

type Contender = Callable[[], Awaitable[float]]
"""Runs once and returns what was measured, in a unit of its own."""


async def interleaved(
    contenders: Mapping[str, Contender],
    rounds: int,
    advance: Callable[[], None],
    *,
    warm_up: bool = True,
) -> dict[str, list[float]]:
    """Run every contender once per round, each round beginning with another one.

    Whatever slows the machine for a while slows all of them, and none always runs in the wake of
    the same other one.

    Args:
        contenders: what to run, by name.
        rounds: how often each is measured.
        advance: called after each run, the warm-up's included.
        warm_up: run each once before, unmeasured: connections, caches, compiled scripts.

    Returns:
        The measurements of each, in the order in which they were taken.
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
    """The items beginning with number `by`, counted round."""
    if not items:
        return []
    by %= len(items)
    return [*items[by:], *items[:by]]


async def seconds_each(call: Callable[[], Awaitable[object]], times: int) -> float:
    """Seconds per call of `times` calls, one after another."""
    started = time.perf_counter()
    for _ in range(times):
        await call()
    return (time.perf_counter() - started) / times


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the middle two.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("the median of no measurement")
    return statistics.median(values)


def medians(measured: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each."""
    return {name: median(values) for name, values in measured.items()}


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `percent` % do not exceed.

    Raises:
        ValueError: there are no values, or the percentage is not above 0 and at most 100.
    """
    if not values or not 0 < percent <= 100:
        raise ValueError(f"percentile {percent:g} of {len(values)} values; it takes 0 < p <= 100")
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def spread(values: Sequence[float]) -> float:
    """How far the middle half of the measurements reaches, as a share of the median.

    0.1 means: half of them lie within a band of 10 % of the median. 0 if there are fewer than four.
    """
    if len(values) < 4 or not median(values):
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / median(values)


def steady_rate(
    timeline: Sequence[tuple[float, int]], total: int, *, first: float = 0.1, last: float = 0.9
) -> float:
    """Events per second between the shares `first` and `last` of `total`: without run-up and tail.

    Args:
        timeline: (seconds, events done up to then), both rising.
        total: events in all.
        first: where the steady part begins, from 0.
        last: where it ends, up to 1.

    Raises:
        ValueError: the timeline does not reach the end of the steady part, or has one point in it.
    """
    if not 0 <= first < last <= 1:
        raise ValueError(f"steady part from {first:g} to {last:g}; it takes 0 <= first < last <= 1")
    points = iter(timeline)
    begin = next((point for point in points if point[1] >= first * total), None)
    end = next((point for point in points if point[1] >= last * total), None)
    if begin is None or end is None or end[0] <= begin[0]:
        raise ValueError(f"the timeline does not cover {first:.0%} to {last:.0%} of {total} events")
    return (end[1] - begin[1]) / (end[0] - begin[0])


def chunked[T](items: Sequence[T], size: int) -> list[list[T]]:
    """The items in lists of `size`, the last one perhaps shorter."""
    source = iter(items)
    return list(iter(lambda: list(islice(source, size)), []))


async def in_turn(
    calls: Mapping[str, Callable[[], Awaitable[object]]], times: int
) -> dict[str, list[float]]:
    """Seconds of each single call, the contenders taking turns call by call.

    For calls of microseconds: finer than `interleaved`, so that both sides of a ratio see the same
    machine.
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
