"""Tests of the decisions and faults while an approval waits: the app runs again each time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from breaker import CircuitBreaker
from breaker.cli.circuits import build
from local.site import SiteState
from tests.support.loadtest.runs import assert_kept, run
from tests.support.local.hosts import running_hosts
from tests.support.processes import running_stack, wait_for

THRESHOLD = 3
SCALE = "0.003"  # the workflow asks again after 5.4 s instead of half an hour


@dataclass
class Site:
    """A running stack with a function host.

    Attributes:
        endpoints: the content of the stack's endpoints.json.
        options: the options of a load test on the stack.
        console: a client of the console's API.
        breaker: the circuit, for failures and approvals.
    """

    endpoints: dict[str, Any]
    options: str
    console: httpx.Client

    @property
    def values(self) -> dict[str, str]:
        settings: dict[str, Any] = json.loads(Path(self.endpoints["settings_file"]).read_text())
        values: dict[str, str] = settings["Values"]
        return values

    @property
    def state(self) -> str:
        return SiteState(self.endpoints["state_dir"]).read()

    def circuit(self) -> dict[str, Any]:
        found: dict[str, Any] = self.console.get("/api/circuits/breakwater").json()
        return found

    def post(self, action: str, **body: Any) -> None:
        answer = self.console.post(f"/api/circuits/breakwater/{action}", json=body)
        assert answer.status_code == 200, answer.text

    def waits(self) -> bool:
        """Return whether the app is stopped and a run waits for its approval."""
        runs = httpx.get(f"{self.endpoints['workflow_url']}/runs").json()["runs"]
        details = [step["detail"] for run in runs for step in run["steps"]]
        return self.state == "Stopped" and "waiting for the callback" in details

    def registered(self) -> int:
        """Return the number of callbacks in Redis."""
        with redis.Redis.from_url(self.values["REDIS_URL"]) as client:
            return int(client.hlen("breaker:{breakwater}:approvals"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    options = ("--set", f"BREAKER_FAILURE_THRESHOLD={THRESHOLD}", "--workflow-retry-scale", SCALE)
    with running_stack(tmp_path / "stack", *options) as endpoints:
        token = {"Authorization": f"Bearer {endpoints['console_token']}"}
        with (
            running_hosts(endpoints, "--lease", "3") as target,
            httpx.Client(base_url=endpoints["console_url"], headers=token, timeout=30) as console,
        ):
            yield Site(endpoints, target, console)


async def open_circuit(site: Site) -> None:
    """Record failures as instances do, until the circuit opens and the workflow waits."""
    breaker: CircuitBreaker
    async with build(site.values) as breaker:
        permit = await breaker.try_acquire()
        for number in range(THRESHOLD):
            await breaker.record_failure(str(number), "refused", permit)
    wait_for(site.waits, "the request for an approval")


def assert_events_are_handled(site: Site, directory: Path) -> None:
    (directory / "run").mkdir()
    finished = run(
        directory / "run",
        f"{site.options} --scenario steady --events 300 --keys 10 --poison-every 0",
    )
    assert_kept(finished, sent=300, poisoned=0)


@pytest.mark.long
async def test_app_runs_after_isolating_and_closing_while_an_approval_waits(
    site: Site, tmp_path: Path
) -> None:
    """Isolating starts the app, whose instances hold; closing lets the events pass.

    The workflow's run ended without a start before, and no other run was there.
    """
    await open_circuit(site)
    site.post("isolate", by="ann", reason="looking into it")
    wait_for(lambda: site.state == "Running", "the start of the app")
    assert site.circuit()["state"] == "isolated"
    site.post("close", generation=2, by="ann")
    assert_events_are_handled(site, tmp_path)


@pytest.mark.long
async def test_approval_is_there_again_after_redis_was_emptied(site: Site, tmp_path: Path) -> None:
    """The run registers again, with the opening that Redis has lost; approving starts the app."""
    await open_circuit(site)
    with redis.Redis.from_url(site.values["REDIS_URL"]) as client:
        client.flushall()
    assert site.registered() == 0
    wait_for(lambda: site.registered() == 1, "the repeated request for an approval")
    wait_for(lambda: site.circuit()["state"] == "open", "the return of the opening")
    assert (site.state, site.circuit()["generation"]) == ("Stopped", 1)
    site.post("approve", generation=1, by="ann")
    wait_for(lambda: site.state == "Running", "the start of the app")
    assert_events_are_handled(site, tmp_path)


@pytest.mark.long
async def test_app_that_was_left_stopped_is_started_by_command(site: Site, tmp_path: Path) -> None:
    """A stop that no run knows about has no approval; the start is on record."""
    site.console.post("/api/app/stop", json={"by": "bob", "reason": "maintenance"})
    wait_for(lambda: site.state == "Stopped", "the stop of the app")
    answer = site.console.post("/api/app/start", json={"by": "ann"})
    assert answer.status_code == 200, answer.text
    assert site.state == "Running"
    history = site.console.get("/api/circuits/breakwater/history").json()["history"]
    steps = [(entry["event"], entry["by"]) for entry in history]
    assert steps == [("start_accepted", "ann"), ("stop_accepted", "bob")]
    assert_events_are_handled(site, tmp_path)
