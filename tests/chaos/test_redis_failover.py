"""A Redis that fails over behind one address, refuses writes or falls silent, with real hosts.

Two Redis servers stand behind a proxy, and parked events wait for the replica's confirmation. The
judge reads the ledger, which is in that Redis too, and the health reports of each instance.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.plan.redis_failover import MOST_SECONDS
from tests.support.loadtest.runs import Finished, assert_kept, run

EVENTS = 3_000
PATIENCE_SECONDS = 240


def failed_over(directory: Path, line: str) -> Finished:
    return run(directory, f"{line} --no-console", patience_seconds=PATIENCE_SECONDS)


@pytest.mark.long
@pytest.mark.timeout(PATIENCE_SECONDS + 60)
def test_failover_there_and_back_loses_doubles_and_reorders_nothing(tmp_path: Path) -> None:
    """All open connections stay at the old primary, which refuses writes, in both failovers.

    The address leads to the new primary 8 s after the first failover, and at once after the second.
    """
    finished = failed_over(
        tmp_path, "--scenario readonly-failover --seed 22 --events 20000 --rate 400 --timeout 200"
    )
    assert_kept(finished, sent=20_000, poisoned=finished.report["poisoned"])
    faults = [fault for fault in finished.report["faults"] if "failed over" in fault["kind"]]
    assert len(faults) == 2
    assert all("stay at the old server" in fault["detail"] for fault in faults)


@pytest.mark.long
@pytest.mark.timeout(PATIENCE_SECONDS + 60)
@pytest.mark.parametrize("seed", [1, 2])
def test_redis_without_its_replica_is_an_outage_until_it_takes_writes(
    tmp_path: Path, seed: int
) -> None:
    """In the run of one seed the grace time ends before the replica is back."""
    finished = failed_over(tmp_path, f"--scenario no-replicas --seed {seed}")
    assert_kept(finished, sent=EVENTS, poisoned=finished.report["poisoned"])


@pytest.mark.long
@pytest.mark.timeout(PATIENCE_SECONDS + 60)
def test_muted_connections_cost_one_delay(tmp_path: Path) -> None:
    finished = failed_over(tmp_path, "--scenario muted --seed 3")
    assert_kept(finished, sent=EVENTS, poisoned=finished.report["poisoned"])
    assert MOST_SECONDS == 10
