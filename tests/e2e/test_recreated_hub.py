"""All events of a hub that is recreated under the same name are handled after a rewind.

The sequence numbers of the recreated hub start at 0 again, while the host's checkpoints lie beyond
its end. The service refuses to deliver from there. Once the hub has grown past the checkpoints, the
service delivers from there and skips earlier events. The operator who recreates a hub therefore
rewinds while the app is stopped, as the runbook says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import redis.asyncio

from loadtest.plan.settings import Scenario, Settings
from loadtest.plan.workload import Workload
from loadtest.send.process import Sending
from loadtest.send.producer import Order
from loadtest.target.endpoints import Endpoints
from loadtest.target.hosts import host_instances
from loadtest.target.keys import Keys
from loadtest.target.stack import Stack
from loadtest.verify.collector import connect, read_ledgers
from tests.support.forked import run_module_async

WORKLOAD = Workload(Scenario.STEADY, events=1000, keys=20, poison_every=0, seed=0)
PATIENCE = 40.0


async def until(condition: Callable[[], bool], stack: Stack, what: str) -> None:
    """Wait until the condition holds, for at most PATIENCE seconds."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                stack.check()
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"{what} did not happen within {PATIENCE:g} s") from None


async def send(stack: Stack, run: str) -> None:
    """Send the 1,000 events under the name of a run."""
    endpoints = stack.endpoints
    order = Order(
        connection=endpoints.event_hub_connection,
        event_hub=endpoints.event_hub_name,
        run=run,
        events_per_batch=10,
        rate_per_second=0,
        workload=WORKLOAD,
    )
    async with Sending(order) as sending:
        await until(lambda: sending.progress.over, stack, "the sending")
    assert sending.progress.error is None
    assert sending.progress.acknowledged == WORKLOAD.events


def handled(endpoints: Endpoints, run: str) -> dict[str, list[int]]:
    """Return each key's counters, in the order in which the events were handled."""
    keys = Keys(run, "breakwater", WORKLOAD.key_names)
    with connect(endpoints) as client:
        return {
            key: [entry.counter for entry in entries]
            for key, entries in read_ledgers(client, keys)
            if entries
        }


async def manage(endpoints: Endpoints, action: str) -> None:
    """Stop or start the function app as `az functionapp` does."""
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{endpoints.management_url}/{action}", params={"api-version": "2025-03-01"}
        )
    assert answer.is_success, answer.text


async def recreate_hub(endpoints: Endpoints) -> None:
    """Delete the hub and create it again."""
    hub = f"{endpoints.event_hub_control_url}/hubs/{endpoints.event_hub_name}"
    async with httpx.AsyncClient() as client:
        assert (await client.delete(hub)).is_success
        answer = await client.put(hub, json={"partitionCount": 4})
    assert answer.is_success, answer.text


async def rewind(endpoints: Endpoints) -> str:
    """Run `breakwater rewind --all --to-start` and return its output."""
    finished = await run_module_async(
        *("processing", "rewind", "--all", "--to-start"),
        *("--settings", endpoints.settings_file),
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.long
async def test_all_events_of_a_recreated_hub_are_handled(tmp_path: Path) -> None:
    settings = Settings(scenario=Scenario.STEADY, console=False, report=tmp_path / "report.json")
    in_order = {
        key: list(range(1, WORKLOAD.count(index) + 1))
        for index, key in enumerate(WORKLOAD.key_names)
    }
    async with Stack(settings) as stack:
        endpoints = stack.endpoints
        await send(stack, "before")
        await until(
            lambda: handled(endpoints, "before") == in_order, stack, "the handling of the first"
        )
        await manage(endpoints, "stop")
        await until(lambda: not host_instances(stack.state_dir), stack, "the end of the host")
        await recreate_hub(endpoints)
        assert "restart at" in await rewind(endpoints)
        await manage(endpoints, "start")
        await send(stack, "after")
        await until(
            lambda: handled(endpoints, "after") == in_order, stack, "the handling of the next"
        )
        async with redis.asyncio.Redis.from_url(endpoints.redis_url) as client:
            assert await client.get("ledger:{after}:suppressed") is None, "no event was redelivered"
        assert handled(endpoints, "before") == in_order
