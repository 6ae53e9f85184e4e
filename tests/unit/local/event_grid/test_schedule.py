"""The retry schedule that Event Grid documents."""

from __future__ import annotations

import pytest

from local.event_grid.schedule import RetrySchedule, is_permanent, is_success

MINUTE, HOUR = 60, 3600


def test_waits_equal_the_documented_waits() -> None:
    schedule = RetrySchedule(time_to_live_seconds=float("inf"))
    waits = [schedule.wait_after(attempts, 0) for attempts in range(1, 13)]
    assert waits == [
        *(10, 30, MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE),
        *(HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 12 * HOUR, 12 * HOUR),
    ]


def test_at_most_thirty_attempts_are_made() -> None:
    schedule = RetrySchedule(time_to_live_seconds=float("inf"))
    assert schedule.wait_after(29, 0) is not None
    assert schedule.wait_after(30, 0) is None


def test_no_attempt_comes_after_a_day() -> None:
    schedule = RetrySchedule()
    assert schedule.wait_after(1, 24 * HOUR - 11) is not None
    assert schedule.wait_after(1, 24 * HOUR - 9) is None


def test_the_scale_shortens_waits_and_time_to_live() -> None:
    schedule = RetrySchedule(scale=0.01)
    assert schedule.wait_after(1, 0) == pytest.approx(0.1)
    assert schedule.wait_after(1, 24 * HOUR * 0.01) is None


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204])
def test_a_2xx_status_up_to_204_is_a_success(status: int) -> None:
    assert is_success(status)


@pytest.mark.parametrize("status", [100, 205, 206, 301, 400, 404, 500])
def test_other_statuses_are_failures(status: int) -> None:
    assert not is_success(status)


@pytest.mark.parametrize("status", [400, 401, 403, 413])
def test_permanent_failures_are_not_retried(status: int) -> None:
    assert is_permanent(status)


@pytest.mark.parametrize("status", [404, 408, 429, 500, 503, 301])
def test_other_failures_are_retried(status: int) -> None:
    assert not is_permanent(status)
