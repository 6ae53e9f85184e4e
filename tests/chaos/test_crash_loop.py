"""Processes that die again and again, with real hosts and services."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.loadtest.runs import assert_kept, run


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("instances", "seed"), [(1, 7), (3, 1)])
def test_event_that_kills_its_process_is_poisoned_after_five_deaths(
    tmp_path: Path, instances: int, seed: int
) -> None:
    """Slow and hanging events of other partitions, in flight at the same deaths, are handled."""
    line = f"--scenario crash-loop --seed {seed} --instances {instances} --no-console"
    finished = run(tmp_path, line, patience_seconds=200)
    assert_kept(finished, sent=1_500, poisoned=1)
    assert finished.report["deaths"] <= 5
    assert finished.report["circuit"]["opened"] == 0
