"""The goals of P13 follow the breaker's default window."""

from __future__ import annotations

import pytest

from benchmarks.p13_outage import NEVER, Case, cases, result
from breaker import BreakerSettings

MET = {"100_keys": [1.0, 4.0, 9.0], "4_keys": [34.0], "1_key": [35.0], "keyless": [31.0]}


def test_goals_apply_to_the_medians() -> None:
    judged = result(MET)
    assert judged.holds
    assert [check.limit for check in judged.checks] == [5.0, 35.0, 35.0, 35.0]
    assert judged.medians["100_keys_seconds_to_open"] == 4.0
    assert BreakerSettings().window_seconds == 30


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_outage_that_never_opens_misses_the_goal(case: Case) -> None:
    assert not result(MET | {case.name: [NEVER * case.limit]}).holds
