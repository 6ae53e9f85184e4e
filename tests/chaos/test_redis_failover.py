"""A Redis that fails over behind one address, refuses writes or falls silent, with real hosts.

Two Redis servers stand behind a proxy, and parked events wait for the replica's confirmation. The
judge reads the ledger, which is in that Redis too, and the health reports of each instance.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.loadtest.runs import assert_kept, run

PATIENCE_SECONDS = 240


@pytest.mark.long
@pytest.mark.timeout(PATIENCE_SECONDS + 60)
def test_failover_there_and_back_loses_doubles_and_reorders_nothing(tmp_path: Path) -> None:
    """Three instances, whose open connections stay at the server that refuses writes.

    The address leads to the new primary soon after the first failover, and 8 s after the second.
    """
    finished = run(
        tmp_path,
        "--scenario readonly-failover --seed 12 --events 20000 --rate 400 --timeout 200 "
        "--no-console",
        patience_seconds=PATIENCE_SECONDS,
    )
    assert_kept(finished, sent=20_000, poisoned=0)
    faults = finished.report["faults"]
    assert [fault["kind"] for fault in faults] == ["Redis failed over"] * 2
    assert all("stay at the old server" in fault["detail"] for fault in faults)


@pytest.mark.long
@pytest.mark.timeout(PATIENCE_SECONDS + 60)
@pytest.mark.parametrize(
    ("scenario", "seed"),
    [
        ("no-replicas", 1),  # the replica is back within the grace time
        ("no-replicas", 23),  # the grace time ends before; keys are parked
        ("muted", 13),  # also new connections; keys are parked
    ],
)
def test_redis_that_takes_no_writes_or_is_silent_costs_no_event(
    tmp_path: Path, scenario: str, seed: int
) -> None:
    finished = run(
        tmp_path,
        f"--scenario {scenario} --seed {seed} --no-console",
        patience_seconds=PATIENCE_SECONDS,
    )
    report = finished.report
    assert report["broken"] == [], finished.output
    assert report["handled"] + report["poisoned"] + report["parked"] == report["sent"] == 3_000
    assert (report["lost"], report["duplicates"], report["order_violations"]) == (0, 0, 0)
