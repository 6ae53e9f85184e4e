"""The rules of crash loops."""

from __future__ import annotations

import itertools

import pytest

from processing.crashes.process import ProcessName
from processing.crashes.records import AloneRun
from processing.crashes.rules import (
    ALONE_DEATHS_MAX,
    SIGN_OF_LIFE_SECONDS,
    agree,
    ends_its_process,
    pause_seconds,
    tolerance,
)


def runs(*seconds: float) -> list[AloneRun]:
    """Return runs of one event, one after another, with these running times."""
    return [run(pid, 1000.0 * pid, each) for pid, each in enumerate(seconds)]


def run(pid: int, began: float, seconds: float) -> AloneRun:
    """Return a run of one event; `began` is in seconds."""
    at = round(began * 1e6)
    return AloneRun("p", ProcessName("m", pid, "1"), at, at + round(seconds * 1e6))


@pytest.mark.parametrize("seconds", [(), (0.0,), (30.0,)])
def test_one_death_blames_nobody(seconds: tuple[float, ...]) -> None:
    assert not ends_its_process(runs(*seconds))


@pytest.mark.parametrize("seconds", [(0.0, 0.0), (3.0, 3.2), (100.0, 104.0), (0.0, 9.0, 0.2)])
def test_two_deaths_at_one_running_time_blame_the_event(seconds: tuple[float, ...]) -> None:
    """Also if other deaths came between them."""
    assert ends_its_process(runs(*seconds))


def test_slow_event_is_not_blamed_for_deploys() -> None:
    """A deploy finds the event at any time of its call."""
    assert not ends_its_process(runs(2.0, 9.0, 5.0, 14.0, 0.4, 19.0))


def test_two_owners_that_die_together_blame_nobody() -> None:
    """A deploy kills both owners of a partition while both run the event."""
    together = [run(1, 10.0, 1.5), run(2, 10.1, 1.4)]
    assert not ends_its_process(together)
    assert not ends_its_process(list(reversed(together)))
    assert ends_its_process([*together, run(3, 20.0, 1.5)])
    assert not ends_its_process([run(1, 10.0, 0.1), run(2, 10.9, 0.0)]), "the sign of life was late"


def test_event_that_never_survives_is_given_up() -> None:
    """Otherwise its partition would wait for an operator."""
    times = [3.0 * number for number in range(ALONE_DEATHS_MAX)]
    assert not ends_its_process(runs(*times[:-1]))
    assert ends_its_process(runs(*times))


def test_tolerance_covers_the_signs_of_life() -> None:
    """Two equal running times may differ by one sign of life."""
    assert tolerance(0) >= 2 * SIGN_OF_LIFE_SECONDS


@pytest.mark.parametrize("age", [0.5, 5.0, 60.0, 300.0])
def test_killer_with_a_clock_of_its_own_blames_nobody(age: float) -> None:
    """A pipeline that kills each process at one age finds the event at another time each time."""
    times: list[float] = []
    while len(times) < ALONE_DEATHS_MAX - 1:
        left = age + 60 - pause_seconds(runs(*times))
        if left <= 0:
            break
        times.append(left)
    assert not any(agree(one, other) for one, other in itertools.combinations(times, 2))
    assert len(times) >= 3
