"""A hub that grows from 4 to 8 partitions while keys are parked, with the steps of the runbook.

The service chooses the partition of a key by a hash that includes the number of partitions. After
the growth, the next events of most keys come to another partition than their earlier events.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient

from loadtest.plan.settings import Scenario, Settings
from loadtest.target.endpoints import Endpoints
from loadtest.target.hosts import host_instances
from loadtest.target.keys import Keys
from loadtest.target.stack import Stack
from loadtest.verify.collector import connect, read_ledgers
from local.event_hubs.hub.partitioner import partition_for_key
from processing.formats.event_fields import key_hash
from tests.e2e.test_recreated_hub import until
from tests.support.forked import run_module_async

BEFORE, AFTER = 4, 8
RUN = "grown"
EVENTS = 3
APP = {
    "EVENT_HANDLER": "tests.support.handlers.repairable:RepairableLedger",
    "PROCESSING_POISON_ORDERING": "park",
    "BREAKER_COUNT_POISON": "false",
}


def keys_that(*, move: bool) -> list[str]:
    """Return keys that come to another partition after the growth, or keys that do not."""

    def moves(key: str) -> bool:
        name = key.encode()
        return partition_for_key(name, BEFORE) != partition_for_key(name, AFTER)

    return [key for key in (f"key-{number}" for number in range(60)) if moves(key) is move]


FIRST, LATE, *MOVED = keys_that(move=True)[:12]
STAYING, *STAY = keys_that(move=False)[:8]
PARKED = (FIRST, LATE, STAYING)
"""The keys whose first event is poisoned; the runbook is followed for all but `LATE`."""


async def send(endpoints: Endpoints, counters: Iterable[int], broken: Iterable[str] = ()) -> None:
    """Send one event of each counter to each key; the first event of a broken key is poison."""
    client = EventHubProducerClient.from_connection_string(
        endpoints.event_hub_connection, eventhub_name=endpoints.event_hub_name
    )
    async with client:
        for key in (*PARKED, *MOVED, *STAY):
            batch = await client.create_batch(partition_key=key)
            for counter in counters:
                event = EventData(b"{}")
                event.properties = {"run": RUN, "key": key, "counter": counter}
                if key in broken and counter == 1:
                    event.properties["broken"] = True
                batch.add(event)
            await client.send_batch(batch)


def handled(endpoints: Endpoints) -> dict[str, list[int]]:
    """Return each key's counters, in the order in which the events were handled."""
    with connect(endpoints) as client:
        keys = Keys(RUN, "breakwater", (*PARKED, *MOVED, *STAY))
        return {
            key: [entry.counter for entry in entries] for key, entries in read_ledgers(client, keys)
        }


async def command(endpoints: Endpoints, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await run_module_async(
        "processing", *arguments, "--settings", str(endpoints.settings_file)
    )


async def parked(endpoints: Endpoints) -> tuple[dict[str, int], str]:
    """Return the number of events of each parked key, and the notes of `parked list`."""
    done = await command(endpoints, "parked", "list", "--json")
    assert done.returncode == 0, done.stderr
    rows = map(json.loads, done.stdout.splitlines())
    return {row["key"]: row["entries"] for row in rows}, done.stderr


async def warnings(stack: Stack) -> str:
    """Return the warnings of the instance's health."""
    (host,) = host_instances(stack.state_dir)
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{host.port}/api/health", timeout=30)
    return "\n".join(answer.json()["warnings"])


@pytest.mark.long
async def test_keys_that_are_redriven_first_stay_in_order(tmp_path: Path) -> None:
    """No event is lost or handled twice; a key that waits on is handled out of order.

    Health, `parked list` and the plans of a redrive and of a rewind name the keys that wait.
    """
    settings = Settings(
        scenario=Scenario.STEADY, console=False, report=tmp_path / "report.json", app_settings=APP
    )
    others = {key: list(range(1, EVENTS + 1)) for key in (*MOVED, *STAY)}
    async with Stack(settings) as stack:
        endpoints = stack.endpoints
        await send(endpoints, range(1, EVENTS + 1), broken=PARKED)
        none: dict[str, list[int]] = {key: [] for key in PARKED}
        await until(lambda: handled(endpoints) == others | none, stack, "the first events")
        async with asyncio.timeout(60):
            while await parked(endpoints) != (dict.fromkeys(PARKED, EVENTS), ""):
                await asyncio.sleep(0.2)
            assert "partitions" not in await warnings(stack)

            await grow(endpoints)
            while "3 keys wait since before the change" not in (notes := await warnings(stack)):
                await asyncio.sleep(0.2)
        assert f"the hub has {AFTER} partitions and had {BEFORE} until " in notes
        assert all(f"{key_hash(key)} in partition " in notes for key in PARKED)
        _, note = await parked(endpoints)
        assert all(f"{key!r} in partition " in note for key in PARKED)
        for plan in (("redrive",), ("rewind", "--all", "--to-start")):
            done = await command(endpoints, *plan, "--dry-run")
            assert done.returncode == 0, done.stderr
            assert "3 keys wait since before the change" in done.stdout + done.stderr
        assert {line.split()[0] for line in done.stdout.splitlines() if line[:1].isdecimal()} == {
            str(partition) for partition in range(AFTER)
        }

        with connect(endpoints) as client:
            client.set(f"repaired:{RUN}", "1")
        for key in (FIRST, STAYING):
            done = await command(endpoints, "redrive", "--key", key)
            assert done.returncode == 0, done.stdout
        await send(endpoints, range(EVENTS + 1, 2 * EVENTS + 1))
        in_order = {key: list(range(1, 2 * EVENTS + 1)) for key in handled(endpoints)}
        of_late = list(range(EVENTS + 1, 2 * EVENTS + 1))
        await until(
            lambda: handled(endpoints) == in_order | {LATE: of_late}, stack, "the later events"
        )
        done = await command(endpoints, "redrive")
        assert done.returncode == 0, done.stdout
        assert handled(endpoints) == in_order | {LATE: of_late + list(range(1, EVENTS + 1))}
        assert await parked(endpoints) == ({}, "")
        assert "No key waits since before the change" in await warnings(stack)
        with connect(endpoints) as client:
            assert client.get(f"ledger:{{{RUN}}}:suppressed") is None, "an event came twice"


async def grow(endpoints: Endpoints) -> None:
    """Add partitions to the hub, as `az eventhubs eventhub update --partition-count 8`."""
    hub = f"{endpoints.event_hub_control_url}/hubs/{endpoints.event_hub_name}"
    async with httpx.AsyncClient() as client:
        answer = await client.patch(hub, json={"partitionCount": AFTER})
    assert answer.is_success, answer.text
