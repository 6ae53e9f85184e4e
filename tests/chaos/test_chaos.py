"""A short chaos run keeps every promise; `python -m loadtest chaos-sweep` makes long runs.

The runs can fail. With one part missing in the app's wiring, the verdict names the broken promise.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.plan.chaos import FaultKind, draw
from tests.support.loadtest.runs import Finished, run

APPS = Path(__file__).parent / "apps"
SEED, EVENTS = 104, 2000
"""A seed whose plan is short and varied, but has no outage, which takes long."""
FORGETFUL_SEED = 410820
"""A seed whose first fault loses the checkpoints of the only host, half-way through the events.
Later events then wait until all redelivered events have been handled.
"""


def chaos(directory: Path, line: str = "", *, seed: int = SEED) -> Finished:
    options = f"--events {EVENTS} --rate 1250 --lease 3 --stall 40"
    return run(directory, f"--scenario chaos --seed {seed} {options} {line}")


@pytest.mark.long
def test_a_seeded_run_with_many_faults_keeps_every_promise(tmp_path: Path) -> None:
    finished = chaos(tmp_path)
    report = finished.report
    assert report["broken"] == [], finished.output
    assert finished.code == 0
    assert (report["lost"], report["duplicates"], report["order_violations"]) == (0, 0, 0)
    assert report["handled"] + report["poisoned"] == report["sent"] == EVENTS
    plan = draw(SEED, EVENTS)
    assert len(plan.kinds) >= 5
    done = sorted(fault["kind"] for fault in report["faults"])
    assert done == sorted(fault.kind.value for fault in plan.faults)
    assert report["seed"] == SEED
    assert "fault: Redis restarted" in finished.output


@pytest.mark.long
def test_without_progress_whole_batches_are_handled_again(tmp_path: Path) -> None:
    """The atomic ledger suppresses repeats, but more events than were in flight reach it again.

    Half of the events are sent within 2 s, so that the observer may be slow.
    """
    plan = draw(FORGETFUL_SEED, EVENTS)
    assert (plan.instances, plan.faults[0].kind) == (1, FaultKind.CHECKPOINTS_LOST)
    line = f"--rate 500 --no-console --app {APPS / 'no_progress'}"
    finished = chaos(tmp_path, line, seed=FORGETFUL_SEED)
    assert finished.code == 1
    assert finished.report["duplicates"] == 0
    assert any("reached the ledger again" in line for line in finished.report["broken"])


@pytest.mark.long
@pytest.mark.timeout(360)  # up to three runs
def test_without_the_hold_an_outage_loses_events(tmp_path: Path) -> None:
    """The invocation is not retried, and the host checkpoints past events that failed.

    If the workflow stops the app before the checkpoint, nothing is lost, and the test runs again.
    """
    for _ in range(3):
        finished = run(
            tmp_path,
            "--scenario outage --events 2000 --keys 50 --poison-every 0 --outage-after 500 "
            "--rate 1000 --approve-after 0.2 --stall 10 --set BREAKER_FAILURE_THRESHOLD=10 "
            f"--set PROCESSING_RETRY_INITIAL_SECONDS=0.02 --app {APPS / 'no_hold'}",
        )
        if finished.report["lost"]:
            break
    assert finished.code == 1
    assert finished.report["lost"] > 0
    assert "lost: key-" in finished.output
