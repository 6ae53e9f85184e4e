"""`breakwater rewind` replays exactly the requested events."""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from loadtest.plan.settings import Scenario, Settings
from loadtest.target.clients import blob_container
from loadtest.target.endpoints import Endpoints
from loadtest.target.hosts import host_instances
from loadtest.target.ownership import CONTAINER
from loadtest.target.stack import Stack
from loadtest.verify.collector import connect
from tests.e2e.test_recreated_hub import PATIENCE, WORKLOAD, manage, send, until
from tests.support.forked import run_module_async

NOTE = {"EVENT_HANDLER": "tests.support.handlers.noting:NotingHandler"}


def noted(endpoints: Endpoints) -> list[tuple[str, int]]:
    """Return partition and sequence number of each event that the handler received, in order."""
    with connect(endpoints) as client:
        lines = client.lrange("noted", 0, -1)
    found: list[tuple[str, int]] = []
    for line in lines:
        text = line.decode() if isinstance(line, bytes) else line
        partition, sequence_number = text.split()
        found.append((partition, int(sequence_number)))
    return found


def count(endpoints: Endpoints) -> int:
    """Return the number of events that the handler received."""
    with connect(endpoints) as client:
        return int(client.llen("noted"))


async def checkpoints(endpoints: Endpoints) -> dict[str, int]:
    """Return the sequence number of each partition's checkpoint."""
    async with AsyncExitStack() as opened:
        blobs = await blob_container(endpoints, CONTAINER, opened)
        return {
            blob.name.rpartition("/")[2]: int(blob.metadata["sequencenumber"])
            async for blob in blobs.list_blobs(include=["metadata"])
            if "/checkpoint/" in blob.name
        }


async def rewind(endpoints: Endpoints, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await run_module_async(
        "processing", "rewind", *arguments, "--settings", endpoints.settings_file
    )


@pytest.mark.long
async def test_rewind_repeats_exactly_the_chosen_events(tmp_path: Path) -> None:
    """Rewind one partition to a sequence number and another partition to its start.

    Rewinds that would lose events, or that a running app would undo, are refused.
    """
    settings = Settings(
        scenario=Scenario.STEADY, console=False, report=tmp_path / "report.json", app_settings=NOTE
    )
    async with Stack(settings) as stack:
        endpoints = stack.endpoints
        await send(stack, "r")
        await until(lambda: count(endpoints) >= WORKLOAD.events, stack, "the handling")
        assert Counter(noted(endpoints)).most_common(1)[0][1] == 1

        refused = await rewind(endpoints, "--partition", "1", "--to", "0")
        assert refused.returncode == 1
        assert "the app is running" in refused.stderr

        events: dict[str, list[int]] = defaultdict(list)
        for partition, sequence_number in noted(endpoints):
            events[partition].append(sequence_number)
        ends = {partition: max(numbers) for partition, numbers in events.items()}
        # A stopped host writes no checkpoint, so wait for the checkpoints first.
        async with asyncio.timeout(PATIENCE):
            while await checkpoints(endpoints) != ends:
                await asyncio.sleep(0.1)
        await manage(endpoints, "stop")
        await until(lambda: not host_instances(stack.state_dir), stack, "the end of the host")
        last = ends["1"]
        beyond = await rewind(endpoints, "--partition", "1", "--to", str(last + 2))
        assert (beyond.returncode, "is not among them" in beyond.stderr) == (1, True)
        unknown = await rewind(endpoints, "--partition", "9", "--to-start")
        assert (unknown.returncode, "has no partition '9'" in unknown.stderr) == (1, True)

        start = last - 30
        planned = await rewind(endpoints, "--partition", "1", "--to", str(start), "--dry-run")
        assert "Nothing was changed" in planned.stdout
        done = await rewind(endpoints, "--partition", "1", "--to", str(start))
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[1].split() == ["1", str(last), str(start), "31"]
        first = await rewind(endpoints, "--partition", "2", "--to-start")
        assert first.returncode == 0, first.stderr

        before = count(endpoints)
        expected = Counter([("1", number) for number in range(start, last + 1)])
        expected.update(("2", number) for number in events["2"])
        await manage(endpoints, "start")
        await until(lambda: count(endpoints) >= before + expected.total(), stack, "the replay")
        await send(stack, "s")
        await until(
            lambda: count(endpoints) >= before + expected.total() + WORKLOAD.events,
            stack,
            "the handling of what came afterwards",
        )
        again = noted(endpoints)[before:]
        assert len(again) == expected.total() + WORKLOAD.events
        replayed = [each for each in again if each[1] <= ends[each[0]]]
        assert Counter(replayed) == expected


@pytest.mark.long
async def test_running_app_is_stopped_rewound_and_started_by_one_command(tmp_path: Path) -> None:
    """The host delivers from the new checkpoint, because its memory is gone with the stop."""
    settings = Settings(
        scenario=Scenario.STEADY, console=False, report=tmp_path / "report.json", app_settings=NOTE
    )
    async with Stack(settings) as stack:
        endpoints = stack.endpoints
        await send(stack, "r")
        await until(lambda: count(endpoints) >= WORKLOAD.events, stack, "the handling")
        last = max(number for partition, number in noted(endpoints) if partition == "1")
        async with asyncio.timeout(PATIENCE):
            while (await checkpoints(endpoints)).get("1") != last:
                await asyncio.sleep(0.1)
        before, hosts = count(endpoints), host_instances(stack.state_dir)
        done = await rewind(endpoints, "--partition", "1", "--to", str(last - 30), "--restart")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[1].split() == ["1", str(last), str(last - 30), "31"]
        assert "Rewound 1 partition.\nThe app is started; the local stack says:" in done.stdout
        await until(lambda: count(endpoints) >= before + 31, stack, "the replay")
        await send(stack, "s")
        total = before + 31 + WORKLOAD.events
        await until(
            lambda: count(endpoints) >= total, stack, "the handling of what came afterwards"
        )
        again = noted(endpoints)[before:]
        assert len(again) == 31 + WORKLOAD.events
        replayed = [number for partition, number in again if partition == "1" and number <= last]
        assert sorted(replayed) == list(range(last - 30, last + 1))
        assert host_instances(stack.state_dir)
        assert host_instances(stack.state_dir) != hosts, "other processes run now"
