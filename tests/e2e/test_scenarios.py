"""Whole runs with producer, endpoint, function host, breaker, workflow, operator and verifier."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest.target.endpoints import Endpoints
from loadtest.target.hosts import host_instances
from loadtest.target.ownership import read_owners
from scripts.package_app import ROOT, build
from tests.e2e.conftest import Hosts
from tests.support.loadtest.runs import assert_kept, run
from tests.support.processes import wait_for

WRONG_LANES = Path(__file__).parents[1] / "chaos" / "apps" / "wrong_lanes"


@pytest.fixture(scope="class")
def running(hosts: Hosts) -> Iterator[str]:
    """Yield the options of a run on one host, which all tests of the class share."""
    with hosts("--lease", "3") as options:
        yield options


class TestTheApp:
    """Runs of the app as deployed."""

    @pytest.mark.long
    def test_seed_poisons_every_hundredth_message_after_four_attempts(
        self, tmp_path: Path, running: str
    ) -> None:
        """The verifier checks the attempts, and the operator approves through the console.

        Each key has events after its poisoned event, which probe the half-open circuit.
        """
        finished = run(
            tmp_path,
            "--scenario seed --events 4500 --keys 30 --approve-after 0.2 --approve console "
            f"{running}",
        )
        assert_kept(finished, sent=4500, poisoned=30)
        circuit = finished.report["circuit"]
        assert circuit["opened"] >= 1
        assert circuit["alerts"] == circuit["opened"] == len(circuit["approvals"])
        assert circuit["started_while_open"] == 0
        assert circuit["resumed"] is True

    def test_kill_9_of_a_host_loses_nothing_and_repeats_nothing(
        self, tmp_path: Path, running: str
    ) -> None:
        """The ledger is an atomic sink, which suppresses repeats of events in flight."""
        finished = run(
            tmp_path,
            f"--scenario steady --events 4000 --keys 40 --rate 2000 --kill-after 1500 {running}",
        )
        assert_kept(finished, sent=4000, poisoned=0)
        assert finished.report["kills"] == 1
        assert finished.report["suppressed"] <= 40, "at most one event in flight per key"

    @pytest.mark.long
    def test_three_instances_share_the_partitions(
        self, tmp_path: Path, running: str, hosts: Hosts, standing_stack: dict[str, Any]
    ) -> None:
        """Each host takes a share of the partitions while events arrive."""
        stack = Endpoints.read(Path(standing_stack["state_dir"], "endpoints.json"))

        def shared() -> bool:
            owners = asyncio.run(read_owners(stack, "$Default"))
            living = {str(host.pid) for host in host_instances(stack.state_dir)}
            owning = {owner.partition("-")[0] for owner in owners.values()}
            return set(owners) == {"0", "1", "2", "3"} and len(living) == 3 and owning == living

        with hosts(instances=2):
            line = f"--scenario steady --events 4000 --keys 40 --rate 1300 {running}"
            finished = run(tmp_path, line)
            wait_for(shared, "a share for each of the three")
        assert_kept(finished, sent=4000, poisoned=0)
        assert finished.report["circuit"]["opened"] == 0


@pytest.mark.long
def test_the_package_runs_the_steady_scenario(tmp_path: Path, hosts: Hosts) -> None:
    """The app needs no file that .funcignore excludes."""
    app, reports = tmp_path / "app", tmp_path / "reports"
    build(ROOT, app)
    with hosts("--app", app) as options:
        finished = run(reports, f"--scenario steady --events 2000 --keys 20 {options}")
    assert_kept(finished, sent=2000, poisoned=0)


@pytest.mark.long
def test_lanes_that_ignore_keys_are_reported_as_order_violations(
    tmp_path: Path, hosts: Hosts
) -> None:
    with hosts("--app", WRONG_LANES) as options:
        finished = run(tmp_path, f"--scenario steady --events 2000 --keys 40 {options}")
    assert finished.code == 1
    assert finished.report["order_violations"] > 0
    assert "order violation: key-" in finished.output
