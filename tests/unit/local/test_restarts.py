"""The restart budget of a crashed child: growing delays and a limit."""

from __future__ import annotations

from local.services.restarts import RestartBudget


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_delays_double_up_to_the_maximum_and_the_budget_ends() -> None:
    budget = RestartBudget(5, 60, first_delay=0.1, max_delay=0.5, clock=Clock())
    delays = [budget.next_delay() for _ in range(6)]
    assert delays == [0.1, 0.2, 0.4, 0.5, 0.5, None]
    assert budget.total == 5


def test_old_restarts_leave_the_window() -> None:
    clock = Clock()
    budget = RestartBudget(2, 60, clock=clock)
    assert budget.next_delay() is not None
    assert budget.next_delay() is not None
    assert budget.next_delay() is None
    clock.now = 61
    assert budget.next_delay() == 0.1
    assert budget.total == 3


def test_endless_budget_keeps_the_longest_delay() -> None:
    """The restarts of the window are still counted, so that a crash loop can be reported."""
    clock = Clock()
    budget = RestartBudget(2, 60, endless=True, first_delay=0.1, max_delay=0.5, clock=clock)
    assert [budget.next_delay() for _ in range(6)] == [0.1, 0.2, 0.4, 0.5, 0.5, 0.5]
    assert (budget.recent, budget.total) == (6, 6)
    clock.now += 61
    assert budget.recent == 0
    assert budget.next_delay() == 0.1
