"""The pure rules: tripping, the order of states, texts and the window."""

from __future__ import annotations

import pytest

from breaker import BreakerSettings, Circuit, CircuitState
from breaker.state import clip
from breaker.transitions import tripped
from breaker.window import RollingWindow


@pytest.mark.parametrize(
    ("failures", "successes", "settings", "reason"),
    [
        (99, 0, {}, None),
        (100, 0, {}, "100 failures within 30 s (threshold 100)"),
        (100, 10**9, {}, "100 failures within 30 s (threshold 100)"),
        (5, 5, {"failure_ratio": 0.5, "minimum_throughput": 11}, None),
        (5, 5, {"failure_ratio": 0.5, "minimum_throughput": 10}, "5 of 10 failed within 30 s"),
        (4, 6, {"failure_ratio": 0.5, "minimum_throughput": 10}, None),
        (3, 0, {"window_seconds": 0.25, "failure_threshold": 3}, "3 failures within 0.25 s"),
    ],
)
def test_circuit_trips_at_count_or_ratio(
    failures: int, successes: int, settings: dict[str, float], reason: str | None
) -> None:
    """The count rule trips at its threshold, the ratio rule at ratio and throughput."""
    rules = BreakerSettings(**settings).rules("x")  # type: ignore[arg-type]
    got = tripped(failures, successes, rules)
    assert got is None if reason is None else got is not None and got.startswith(reason)


def test_positions_increase_over_a_circuits_life() -> None:
    """Open, half-open and closed of a generation, then the next generation."""
    life = [
        (CircuitState.CLOSED, 0),
        (CircuitState.OPEN, 1),
        (CircuitState.HALF_OPEN, 1),
        (CircuitState.CLOSED, 1),
        (CircuitState.ISOLATED, 2),
        (CircuitState.CLOSED, 2),
    ]
    positions = [Circuit("c", state, generation).position for state, generation in life]
    assert positions == sorted(positions)
    assert len(set(positions)) == len(positions)


def test_circuit_admits_only_if_closed_and_not_on_hold() -> None:
    """A closed circuit on hold admits nothing."""
    assert Circuit("c").admits
    assert not Circuit("c", holding=True).admits
    assert not any(
        Circuit("c", state, 1).admits for state in CircuitState if state != CircuitState.CLOSED
    )


def test_clip_returns_short_encodable_text() -> None:
    """Any exception text fits into a store."""
    assert clip("x" * 200) == "x" * 200
    assert clip("x" * 201) == "x" * 199 + "…"
    assert clip("\ud800 ü").encode() == b"? \xc3\xbc"


def test_window_counts_failures_by_id() -> None:
    """Failures of one microsecond all count; a repeated id counts once, at its latest time."""
    window = RollingWindow()
    for number in range(10_000):
        window.add(f"{number}", 5, "e")
    window.add("7", 6, "e")
    assert (len(window), window.count(4), window.count(5)) == (10_000, 10_000, 1)
    window.trim(5)
    assert window.failures() == [(6, "7")]


def test_limited_window_keeps_newest_failures() -> None:
    """Limiting removes the oldest failures, whose ids may be added again."""
    window = RollingWindow()
    for at_us in (3, 1, 2):
        window.add(f"f{at_us}", at_us, f"e{at_us}")
    window.limit(2)
    assert window.failures() == [(2, "f2"), (3, "f3")]
    window.add("f1", 4, "again")
    assert window.failures() == [(2, "f2"), (3, "f3"), (4, "f1")]
    assert window.samples(1) == ["again", "e3"]
