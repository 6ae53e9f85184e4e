"""Merging of all instances' vitals into one row."""

from __future__ import annotations

import pytest

from console.reader.vitals import merge, quantile
from processing.monitoring.vitals import VitalsEntry


def entry(instance: str, **numbers: object) -> VitalsEntry:
    return VitalsEntry("1-0", instance, dict(numbers))


def test_a_row_is_the_sum_of_all_instances() -> None:
    """Counts add up, and latencies are merged before the quantiles are computed."""
    row = merge(
        [
            entry("a", handled=100, failures=1, latency={"10": 99}),
            entry("b", handled=50, poisoned=2, parked=3, replayed=4, latency={"10": 50, "20": 1}),
        ],
        seconds=2.0,
        instances=3,
        holding=[0.0, 0.5, 1.0],
    )
    assert (row["handled"], row["failures"], row["poisoned"], row["parked"]) == (150, 1, 2, 3)
    assert row["replayed"] == 4  # the other record is of an older version
    assert (row["per_second"], row["holding"], row["instances"]) == (75.0, 0.5, 3)
    assert 0.5 <= row["p50_ms"] <= 1.024
    assert row["p99_ms"] <= 1.024


def test_row_names_the_first_problem() -> None:
    """The page shows what is wrong with a handler, also when other instances have no problem."""
    row = merge([], seconds=1.0, instances=3, holding=[], problems=["", "a", "b"])
    assert row["problem"] == "a"
    assert merge([], seconds=1.0, instances=0, holding=[])["problem"] == ""


def test_idle_second_has_no_quantiles() -> None:
    """No division by zero occurs."""
    row = merge([], seconds=0.0, instances=0, holding=[])
    assert (row["per_second"], row["holding"], row["p50_ms"], row["p99_ms"]) == (0, 0, None, None)


@pytest.mark.parametrize(
    ("latency", "share", "least", "most"),
    [
        ({0: 10}, 0.5, 0, 0.001),
        ({10: 100}, 0.99, 0.512, 1.024),
        ({10: 98, 20: 2}, 0.99, 524, 1_049),
        ({10: 98, 20: 2}, 0.5, 0.512, 1.024),
        ({5: 1, 37: 1}, 1.0, 68_000_000, 138_000_000),
    ],
)
def test_quantiles_lie_in_their_bucket(
    latency: dict[int, int], share: float, least: float, most: float
) -> None:
    """The result is within a factor of two, whatever the distribution."""
    found = quantile(latency, share)
    assert found is not None
    assert least <= found <= most
