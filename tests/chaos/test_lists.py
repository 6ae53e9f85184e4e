"""A handler of lists under kills, a restart of Redis and an outage, with real hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.plan.lists import HANDLER, draw_lists
from tests.support.loadtest.runs import assert_kept, run

EVENTS = 6_000


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1, 3])
def test_lists_survive_kills_a_restart_and_an_outage(tmp_path: Path, seed: int) -> None:
    """Nothing is lost, each key stays in order, and a kill doubles running lists at most."""
    finished = run(tmp_path, f"--scenario lists --seed {seed}", patience_seconds=350)
    report, plan = finished.report, draw_lists(seed, EVENTS)
    assert report["broken"] == [], finished.output
    assert finished.code == 0
    assert (report["kills"], report["lost"], report["order_violations"]) == (2, 0, 0)
    assert report["circuit"]["opened"] >= 1
    assert report["poisoned"] > 0
    assert (report["parked"] > 0) == plan.parks
    assert 1 < report["longest_list"] <= plan.list_events
    # A kill that comes between two lists doubles nothing, so 0 is right as well.
    assert report["suppressed"] <= report["most_suppressed"]


@pytest.mark.long
@pytest.mark.timeout(240)
def test_event_that_kills_its_process_in_a_list_is_poisoned_alone(tmp_path: Path) -> None:
    """Careful mode calls one event at a time, also with more keys than lanes."""
    line = (
        f"--scenario crash-loop --seed 7 --no-console --set EVENT_HANDLER={HANDLER} "
        "--set PROCESSING_BATCH_HANDLER_EVENTS=20 --set PROCESSING_MAX_LANES=8"
    )
    finished = run(tmp_path, line, patience_seconds=220)
    assert_kept(finished, sent=1_500, poisoned=1)
    assert 1 <= finished.report["deaths"] <= 5
    assert 1 < finished.report["longest_list"] <= 20
