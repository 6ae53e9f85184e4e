"""Measurements rotate the contenders, and the statistics are correct."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.measuring import (
    in_turn,
    interleaved,
    median,
    medians,
    percentile,
    rotated,
    spread,
    steady_rate,
)


def contender(name: str, calls: list[str]) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        calls.append(name)
        return float(len(calls))

    return run


async def test_every_round_starts_with_the_next_contender() -> None:
    calls: list[str] = []
    contenders = {name: contender(name, calls) for name in "abc"}
    measured = await interleaved(contenders, 3, lambda: None, warm_up=False)
    assert "".join(calls) == "abcbcacab"
    assert measured == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}


async def test_warm_up_advances_the_progress_but_is_not_measured() -> None:
    calls: list[str] = []
    steps: list[int] = []
    contenders = {name: contender(name, calls) for name in "ab"}
    measured = await interleaved(contenders, 1, lambda: steps.append(1))
    assert calls == ["a", "b", "a", "b"]
    assert measured == {"a": [3], "b": [4]}
    assert len(steps) == 4


async def test_single_calls_rotate() -> None:
    calls: list[str] = []
    measured = await in_turn({name: contender(name, calls) for name in "ab"}, 3)
    assert "".join(calls) == "abbaab"
    assert {name: len(seconds) for name, seconds in measured.items()} == {"a": 3, "b": 3}
    assert all(second >= 0 for seconds in measured.values() for second in seconds)


@given(st.lists(st.integers(), max_size=8), st.integers(min_value=0, max_value=50))
def test_rotation_keeps_every_item(items: list[int], by: int) -> None:
    turned = rotated(items, by)
    assert sorted(turned) == sorted(items)
    if items:
        assert turned[0] == items[by % len(items)]


def test_median_is_the_middle_value_or_the_mean_of_two() -> None:
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5
    assert medians({"a": [1, 9, 2], "b": [5]}) == {"a": 2, "b": 5}
    with pytest.raises(ValueError, match="at least one measurement"):
        median([])


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)]
)
def test_percentiles_are_measured_values(percent: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1], 0), ([1], 101)])
def test_undefined_percentile_is_an_error(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, percent)


@given(
    st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1),
    st.floats(min_value=0.1, max_value=100),
)
def test_share_of_values_does_not_exceed_the_percentile(
    values: list[float], percent: float
) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) - 1e-9


def test_spread_is_the_middle_half_divided_by_the_median() -> None:
    assert spread([8, 9, 10, 11, 12]) == pytest.approx(0.2)
    assert spread([5, 5, 5, 5]) == 0
    assert spread([1, 100]) == 0


def test_steady_rate_leaves_out_start_and_end() -> None:
    # Nothing for 10 s, then 100 per second, and a last event long after.
    timeline = [(0.0, 0), (10.0, 0), *((10 + n / 10, n * 10) for n in range(1, 100)), (99.0, 1000)]
    assert steady_rate(timeline, 1_000) == pytest.approx(100)


@pytest.mark.parametrize(
    "timeline",
    [[], [(0.0, 0), (1.0, 50)], [(0.0, 0), (1.0, 100)]],
    ids=["empty", "ends in the middle", "one jump"],
)
def test_steady_rate_needs_a_timeline_over_the_steady_part(
    timeline: list[tuple[float, int]],
) -> None:
    with pytest.raises(ValueError, match="does not cover 10% to 90% of 100 events"):
        steady_rate(timeline, 100)


def test_steady_part_starts_before_its_end() -> None:
    with pytest.raises(ValueError, match="0 <= first < last <= 1"):
        steady_rate([(0.0, 0), (1.0, 1)], 1, first=0.9, last=0.1)
