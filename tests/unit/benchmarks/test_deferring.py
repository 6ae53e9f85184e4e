"""The goals of P14 follow the default time in place, and the shares of failing events."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.p14_deferring import (
    Calls,
    Stream,
    first_key_fails,
    no_event_fails,
    one_in_a_thousand_fails,
    result,
)
from processing.errors import DependencyUnavailableError
from processing.settings import ProcessingSettings
from tests.support.processing.events import event

HEALTHY = Stream(1000.0, 0.1, 0, 0)
FAILING = Stream(950.0, 2.0, 300, 60)
REPEATING = Stream(980.0, 11.9, 300, 1)


def test_goals_are_a_share_of_the_healthy_stream_and_the_time_in_place() -> None:
    judged = result(HEALTHY, FAILING, REPEATING, 60)
    assert judged.holds
    assert [check.limit for check in judged.checks] == [0.9, 12.0]
    assert ProcessingSettings().defer_after_seconds == 10
    assert not result(HEALTHY, replace(FAILING, per_second=880.0), REPEATING, 60).holds
    assert not result(HEALTHY, FAILING, replace(REPEATING, longest_pause=12.1), 60).holds


@pytest.mark.parametrize(
    ("fails", "share"), [(no_event_fails, 0), (one_in_a_thousand_fails, 60), (first_key_fails, 600)]
)
def test_streams_have_their_share_of_failing_events(fails: object, share: int) -> None:
    assert callable(fails)
    assert sum(fails(number) for number in range(60_000)) == share


async def test_failing_call_is_an_outage_and_counts_no_success() -> None:
    calls = Calls(first_key_fails)
    with pytest.raises(DependencyUnavailableError):
        await calls(event(0))
    await calls(event(1))
    assert (calls.handled, calls.failed) == (1, 1)
