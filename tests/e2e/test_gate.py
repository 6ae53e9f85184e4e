"""Without the breaker's gate, events start while the circuit is open, and the verifier finds them.

In both runs the topic refuses the app's alerts, so that no workflow stops the app. Only the gate
holds the events.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.loadtest.runs import run

SEED = (
    "--scenario seed --events 2500 --keys 10 --rate 1500 --stall 7 --no-console "
    "--set BREAKER_FAILURE_THRESHOLD=5 --set EVENT_GRID_TOPIC_KEY=d3Jvbmc= "
    "--set PROCESSING_RETRY_INITIAL_SECONDS=0.2"
)
"""Each key has two events that fail, the 100th and the 200th. The first five failures open the
circuit, so that at least five keys have both failing events left. The retry pauses of each take
0.2 + 0.4 + 0.8 s. Events behind the second one would start after the verifier's grace of 1 s.
"""


@pytest.mark.long
def test_gate_starts_no_event_while_open(tmp_path: Path) -> None:
    report = run(tmp_path, SEED).report
    assert report["circuit"]["opened"] == 1
    assert report["circuit"]["started_while_open"] == 0
    assert report["handled"] < 2500 - 20, "the circuit held the rest"
    assert report["circuit"]["state"] == "open"


@pytest.mark.long
def test_missing_gate_is_reported_by_the_verifier(tmp_path: Path) -> None:
    ungated = Path(__file__).parent / "ungated"
    finished = run(tmp_path, f"{SEED} --app {ungated}")
    circuit = finished.report["circuit"]
    assert circuit["opened"] == 1
    assert circuit["started_while_open"] > 0
    assert finished.code == 1
    assert "events started while the circuit was open" in " ".join(finished.report["broken"])
    assert "started while open: key-" in finished.output
