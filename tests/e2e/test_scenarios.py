"""Whole runs: producer, endpoint, function host, breaker, workflow, operator, verifier."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.settings import Scenario, Settings
from loadtest.stack import Stack
from tests.e2e.runs import assert_kept, run


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The options with which a run uses a stack that is up; shared, as an operator's would be."""
    settings = Settings(
        scenario=Scenario.STEADY,
        report=tmp_path_factory.mktemp("shared") / "report.json",
        app_settings={"BREAKER_FAILURE_THRESHOLD": "30"},
    )
    stack = Stack(settings)
    with asyncio.Runner() as runner:
        runner.run(stack.__aenter__())
        try:
            yield f"--target running --endpoints {stack.state_dir / 'endpoints.json'}"
        finally:
            runner.run(stack.__aexit__(None, None, None))


def test_seed_poisons_every_hundredth_message_after_four_attempts(
    tmp_path: Path, running: str
) -> None:
    """The verifier checks the attempts; the approvals go through the console here."""
    finished = run(
        tmp_path,
        f"--scenario seed --events 6000 --keys 30 --approve-after 0.2 --approve console {running}",
    )
    assert_kept(finished, sent=6000, poisoned=60)
    circuit = finished.report["circuit"]
    assert circuit["opened"] >= 1
    assert circuit["alerts"] == circuit["opened"] == len(circuit["approvals"])
    assert circuit["started_while_open"] == 0
    assert circuit["resumed"] is True


def test_kill_9_of_a_host_loses_nothing_and_repeats_nothing(tmp_path: Path, running: str) -> None:
    """The ledger is an atomic sink: what was in flight is suppressed there, not doubled."""
    finished = run(
        tmp_path,
        f"--scenario steady --events 6000 --keys 40 --rate 2000 --kill-after 2000 {running}",
    )
    assert_kept(finished, sent=6000, poisoned=0)
    assert finished.report["kills"] == 1
    assert finished.report["suppressed"] <= 40, "at most one event in flight per key"


def test_three_instances_share_the_partitions(tmp_path: Path) -> None:
    line = "--scenario steady --events 6000 --keys 40 --rate 2000 --instances 3 --no-console"
    finished = run(tmp_path, line)
    assert_kept(finished, sent=6000, poisoned=0)
    assert finished.report["circuit"]["opened"] == 0
    owners = finished.report["owners"]
    assert set(owners) == {"0", "1", "2", "3"}
    assert len(set(owners.values())) == 3
