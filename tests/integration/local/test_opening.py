"""All parts together: a circuit opens, the app stops, an operator approves, the app starts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from breaker import CircuitBreaker, CircuitState
from breaker.cli.circuits import build
from local.site import SiteState
from tests.support.processes import running_stack

THRESHOLD = 3


@pytest.fixture(scope="module")
def small_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Yield a stack whose circuit opens at the third failure: endpoints and "settings"."""
    directory = tmp_path_factory.mktemp("opening")
    with running_stack(directory, "--set", f"BREAKER_FAILURE_THRESHOLD={THRESHOLD}") as endpoints:
        settings = json.loads(Path(endpoints["settings_file"]).read_text())
        yield endpoints | {"settings": settings["Values"]}


async def fail(breaker: CircuitBreaker, word: str) -> int:
    """Record failures until the circuit opens, and return its generation."""
    permit = await breaker.try_acquire()
    for number in range(THRESHOLD):
        circuit = await breaker.record_failure(f"{word}-{number}", "refused", permit)
    assert circuit.state is CircuitState.OPEN
    return circuit.generation


async def test_failures_stop_the_app_until_an_approval(small_stack: dict[str, Any]) -> None:
    """Every part is real: breaker, Redis, Event Grid, workflow, management, console."""
    site = SiteState(small_stack["state_dir"])
    console = {"authorization": f"Bearer {small_stack['console_token']}"}
    async with build(small_stack["settings"]) as breaker, httpx.AsyncClient(timeout=60) as client:

        async def run_of(generation: int, state: str) -> dict[str, Any]:
            async with asyncio.timeout(60):
                while True:
                    answer = await client.get(f"{small_stack['workflow_url']}/runs")
                    for run in answer.json()["runs"]:
                        if (run["generation"], run["state"]) == (generation, state):
                            return dict(run)
                    await asyncio.sleep(0.05)

        generation = await fail(breaker, "first")
        details: list[str] = []
        async with asyncio.timeout(60):  # an earlier approval would be recorded without a name
            while "waiting for the callback" not in details:
                run = await run_of(generation, "WaitingForApproval")
                details = [step["detail"] for step in run["steps"]]
                await asyncio.sleep(0.05)
        assert site.read() == "Stopped"

        approved = await client.post(
            f"{small_stack['console_url']}/api/circuits/{breaker.name}/approve",
            json={"generation": generation, "by": "alice"},
            headers=console,
        )
        assert approved.status_code == 200, approved.text
        run = await run_of(generation, "Succeeded")
        assert site.read() == "Running"
        [approval] = [step for step in run["steps"] if step["name"] == "Wait_for_decision"]
        assert approval["detail"] == "by alice"

        async def opened() -> list[dict[str, Any]]:
            events = await client.get(
                small_stack["event_grid_topic_endpoint"].replace("/api/events", "/events"),
                headers={"aeg-sas-key": small_stack["event_grid_topic_key"]},
            )
            every = events.json()["events"]
            return [event for event in every if event["type"] == "breakwater.circuit.opened"]

        # Published at least once, under one id; a delivery is recorded after its run began.
        assert {event["id"] for event in await opened()} == {f"breakwater:{generation}:opened"}
        async with asyncio.timeout(60):
            while {d["status"] for e in await opened() for d in e["deliveries"]} != {"delivered"}:
                await asyncio.sleep(0.05)
