"""Events that block the event loop, or hold the interpreter, with real hosts and services."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.loadtest.runs import assert_kept, run


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("seed", "poisoned"), [(1, 0), (5, 1)], ids=["block", "seize"])
def test_log_names_the_events_that_block_their_process(
    tmp_path: Path, seed: int, poisoned: int
) -> None:
    """The judge reads the hosts' logs: handler and event, and no word about a silent Redis.

    The event that holds the interpreter ends its process by the watchdog, and is poisoned after
    five deaths. Two owners of its partition may run it at the same time, once before careful mode
    and once in it: then there are up to seven.
    """
    line = f"--scenario blocked-loop --seed {seed} --no-console"
    finished = run(tmp_path, line, patience_seconds=200)
    assert_kept(finished, sent=1_500, poisoned=poisoned)
    assert bool(finished.report["deaths"]) == bool(poisoned)
