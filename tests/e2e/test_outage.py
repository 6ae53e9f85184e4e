"""During a downstream outage every event waits, and none is poisoned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.loadtest.runs import assert_kept, run


@pytest.mark.long
def test_outage_fills_no_poison_queue_and_breaks_no_order(tmp_path: Path) -> None:
    """The handler raises DependencyUnavailableError until the operator has repaired and approved.

    The outage is longer than an invocation may be held, so that batches fail and are redelivered.
    """
    finished = run(
        tmp_path,
        "--scenario outage --events 5000 --keys 50 --poison-every 0 --outage-after 1000 "
        "--rate 2000 --approve-after 4 "
        "--set BREAKER_FAILURE_THRESHOLD=20 --set PROCESSING_HOLD_SECONDS=1",
    )
    assert_kept(finished, sent=5000, poisoned=0)
    report = finished.report
    assert report["refused"] > 0, "the downstream really was down"
    circuit = report["circuit"]
    assert (circuit["opened"], circuit["alerts"]) == (1, 1)
    assert circuit["started_while_open"] == 0
    assert circuit["stop_seconds"] > 4
    assert circuit["state"] == "closed"
