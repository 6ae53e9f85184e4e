"""A recreated hub, expired events and a broker's clock that is set back, with real hosts.

The judge reads the ledger, the hub's control port, the checkpoints and the health reports, and the
app's records of gaps. On an app without these parts each run fails: events behind the old
checkpoint are handled ahead of earlier ones, nobody counts the expired events, and the events of a
partition are handled again after a step of the clock.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.loadtest.runs import assert_kept, run

EVENTS = 3_000
PATIENCE_SECONDS = 400


@pytest.mark.long
@pytest.mark.timeout(PATIENCE_SECONDS + 60)
@pytest.mark.parametrize("seed", [1, 2])
def test_all_events_of_a_recreated_hub_are_handled_after_one_command(
    tmp_path: Path, seed: int
) -> None:
    """Health names the partitions within a minute, and only the command moves the checkpoints."""
    finished = run(
        tmp_path,
        f"--scenario recreated-hub --seed {seed} --no-console",
        patience_seconds=PATIENCE_SECONDS,
    )
    assert_kept(finished, sent=EVENTS, poisoned=0)


@pytest.mark.long
@pytest.mark.timeout(PATIENCE_SECONDS + 60)
@pytest.mark.parametrize("seed", [1, 5])
def test_each_expired_event_is_reported_once(tmp_path: Path, seed: int) -> None:
    """The first seed isolates the circuit and kills a host, the other one stops the app."""
    finished = run(
        tmp_path,
        f"--scenario expired --seed {seed} --no-console",
        patience_seconds=PATIENCE_SECONDS,
    )
    report = finished.report
    assert report["broken"] == [], finished.output
    assert report["expired"] > 0
    assert report["handled"] + report["expired"] == EVENTS
    assert (report["lost"], report["duplicates"], report["order_violations"]) == (0, 0, 0)


@pytest.mark.long
@pytest.mark.timeout(PATIENCE_SECONDS + 60)
@pytest.mark.parametrize("seed", [2, 3])
def test_step_of_the_brokers_clock_repeats_no_event(tmp_path: Path, seed: int) -> None:
    """Redelivered events carry later times than the watermark, and are finished all the same."""
    finished = run(
        tmp_path,
        f"--scenario clock-back --seed {seed} --no-console",
        patience_seconds=PATIENCE_SECONDS,
    )
    assert_kept(finished, sent=EVENTS, poisoned=0)
