"""The ideal schedule is a lower bound of every schedule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.schedule import ideal_seconds, lane_by_lane_seconds

WORK = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 1_000).map(lambda ms: ms / 1_000)), max_size=60
)


def test_many_small_keys_share_the_lanes() -> None:
    assert ideal_seconds([(key, 1.0) for key in range(100)], 10) == pytest.approx(10)


def test_key_is_never_split() -> None:
    assert ideal_seconds([("hot", 1.0)] * 7 + [("cold", 1.0)], 4) == pytest.approx(7)


def test_one_lane_does_everything() -> None:
    assert ideal_seconds([(key, 2.0) for key in "abc"], 1) == pytest.approx(6)


def test_no_work_takes_no_time() -> None:
    assert ideal_seconds([], 5) == 0
    assert lane_by_lane_seconds([], 5) == 0


def test_no_lanes_are_refused() -> None:
    with pytest.raises(ValueError, match="0 lanes"):
        ideal_seconds([("a", 1.0)], 0)


def test_lanes_take_whole_keys_in_their_order() -> None:
    # The longest key is last. Two lanes take 1 s each, then one lane takes 3 s.
    assert lane_by_lane_seconds([("a", 1.0), ("b", 1.0), ("c", 3.0)], 2) == pytest.approx(4)
    assert ideal_seconds([("a", 1.0), ("b", 1.0), ("c", 3.0)], 2) == pytest.approx(3)


@given(WORK, st.integers(1, 8))
def test_ideal_is_below_the_greedy_schedule_and_above_its_half(
    work: list[tuple[int, float]], lanes: int
) -> None:
    """The greedy schedule takes at most twice the ideal time (Graham's bound)."""
    ideal, real = ideal_seconds(work, lanes), lane_by_lane_seconds(work, lanes)
    assert ideal <= real + 1e-9
    assert real <= 2 * ideal + 1e-9
