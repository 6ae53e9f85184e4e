"""`breakwater rewind --restart` on a real hub, Redis and blobs.

The test decides the answers of the management, and owns the partitions in place of a host.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from redis.asyncio import Redis

from processing.identity import Identity, Source
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark
from tests.conftest import EventHubsEndpoint
from tests.support.arm import Arm
from tests.support.forked import Forked, run_module_async
from tests.support.local.event_hubs_trigger import Trigger, event_hubs_trigger
from tests.support.local.functions_host import HostProcess, clean_environment
from tests.support.patience import HANG_SECONDS

EVENTS = 12


@dataclass
class Site:
    """A hub with events, its checkpoints and ownership, and the app's management."""

    trigger: Trigger
    arm: Arm
    directory: Path
    settings: dict[str, str]
    redis_url: str

    @property
    def line(self) -> list[str]:
        """The end of each command line."""
        file = self.directory / "local.settings.json"
        file.write_text(json.dumps({"Values": self.settings}))
        return ["--settings", str(file)]

    async def rewind(self, *arguments: str) -> CompletedProcess[str]:
        return await run_module_async(
            *("processing", "rewind", *arguments, *self.line), environment=clean_environment()
        )

    def start_rewind(self, *arguments: str) -> Forked:
        (self.directory / "err").touch()
        return Forked(
            *("processing", "rewind", *arguments, *self.line),
            output=self.directory / "out",
            errors=self.directory / "err",
            environment=clean_environment(),
        )

    def put(self, kind: str, partition: str, **metadata: str) -> None:
        """Write a blob as the host writes it."""
        name = f"{self.trigger.folder}/{kind}/{partition}"
        self.trigger.container.upload_blob(name, b"", overwrite=True, metadata=metadata)

    @property
    def asked(self) -> list[str]:
        """The stops and starts that were asked for."""
        return [operation for _, operation, _, _ in self.arm.calls if operation]


@pytest.fixture
async def site(
    redis_url: str, azurite: str, event_hubs: EventHubsEndpoint, tmp_path: Path
) -> AsyncIterator[Site]:
    with event_hubs_trigger(event_hubs, azurite, tmp_path, partitions=2) as trigger:
        for partition in ("0", "1"):
            trigger.send(*(f"{number}" for number in range(EVENTS)), partition=partition)
        async with Arm().running() as arm:
            settings = {
                "AzureWebJobsStorage": azurite,
                "EventHubConnection": event_hubs.connection_string,
                "EVENT_HUB_NAME": trigger.hub,
                "POISON_QUEUE": f"poison-{secrets.token_hex(4)}",
                "REDIS_URL": redis_url,
                "FUNCTION_APP_URL": arm.url,
            }
            found = Site(trigger, arm, tmp_path, settings, redis_url)
            with trigger.container as container:
                if not container.exists():
                    container.create_container()
                for partition in ("0", "1"):
                    found.put("checkpoint", partition, offset="900", sequencenumber="9")
                yield found


async def test_stop_rewind_and_start_are_one_command(site: Site) -> None:
    """The checkpoint moves, the app runs again, and JSON says all of it."""
    # The app was last seen at work a moment ago: its ownership is released with the stop.
    site.put("ownership", "1", ownerid="")
    done = await site.rewind("--partition", "1", "--to", "4", "--restart", "--json")
    assert done.returncode == 0, done.stderr
    assert site.asked == ["stop", "start"]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["app"] == {
        "was_stopped": False,
        "stop_accepted": True,
        "stop_seen": True,
        "start_accepted": True,
        "start_seen": True,
        "left_stopped": "",
    }
    (step,) = found["partitions"]
    assert (step["old_checkpoint"], step["restart_at"], step["events"]) == (9, 4, 6)
    assert (found["rewound"], found["half_done"], found["error"]) == (["1"], None, None)
    assert site.trigger.checkpoints() == {"0": 9, "1": 3}
    async with Redis.from_url(site.redis_url) as client:
        namespace = site.trigger.folder.partition("/")[0]
        source = Source(Identity(namespace, site.trigger.hub, "$Default"), "1")
        progress = await RedisProgressStore(client, ttl_seconds=600).load(source)
    assert progress.created_ms > 0, "the hub's time of creation is stored"


async def operate_host(site: Site, host: HostProcess) -> None:
    """Stop and start host processes as the management says."""
    while True:
        await asyncio.sleep(0.02)
        if site.arm.state == "Stopped":
            await asyncio.to_thread(host.terminate)
            while site.arm.state == "Stopped":
                await asyncio.sleep(0.02)
            host = site.trigger.hosts.start("events")


@pytest.mark.long
async def test_running_host_is_stopped_for_the_rewind(site: Site) -> None:
    """Its receivers refuse others, so the plan reads no event; the next host repeats exactly."""
    host = site.trigger.hosts.start("events")
    records = site.trigger.records
    handled = 2 * (EVENTS - 10)  # the checkpoints are at event 9

    def sequences() -> list[tuple[str, int]]:
        return [
            (line["partition"], number) for line in records.starts() for number in line["sequences"]
        ]

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while not await asyncio.to_thread(condition):
                await asyncio.sleep(0.05)

    ends = {"0": EVENTS - 1, "1": EVENTS - 1}
    await until(lambda: len(sequences()) == handled and site.trigger.checkpoints() == ends)
    operating = asyncio.create_task(operate_host(site, host))
    planned = await site.rewind("--partition", "1", "--to", "4", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    refused = await site.rewind("--partition", "1", "--to", "4")
    assert (refused.returncode, "it owns partition 1" in refused.stderr) == (1, True)
    done = await site.rewind("--partition", "1", "--to", "4", "--restart")
    assert done.returncode == 0, done.stderr
    assert site.asked == ["stop", "start"]
    again = [("1", number) for number in range(4, EVENTS)]
    await until(lambda: len(sequences()) >= handled + len(again))
    assert sequences()[handled:] == again
    operating.cancel()
    await asyncio.gather(operating, return_exceptions=True)


@pytest.mark.long
async def test_app_that_was_stopped_before_stays_stopped(site: Site) -> None:
    site.arm.state = "Stopped"
    done = await site.rewind("--all", "--to-start", "--restart")
    assert done.returncode == 0, done.stderr
    assert site.asked == []
    assert done.stdout.endswith(
        "Rewound 2 partitions.\nThe app was stopped before, and stays stopped.\n"
    )
    assert site.trigger.checkpoints() == {"0": -1, "1": -1}


async def test_signal_while_waiting_starts_the_app_again(site: Site) -> None:
    """A killed host has left its ownership, which expires after two minutes."""
    site.put("ownership", "0", ownerid="killed")
    running = site.start_rewind("--all", "--to-start", "--restart")
    try:
        async with asyncio.timeout(HANG_SECONDS):
            err = site.directory / "err"
            while "the app's ownership to expire" not in await asyncio.to_thread(err.read_text):
                await asyncio.sleep(0.05)
        assert site.asked == ["stop"]
        running.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(running.wait, HANG_SECONDS)
    finally:
        running.kill()
    out = (site.directory / "out").read_text()
    assert code == 130
    assert "Not changed: partitions 0, 1." in out
    assert "Interrupted (SIGTERM).\nThe app is started; the local stack says:" in out
    assert site.asked == ["stop", "start"]
    assert site.trigger.checkpoints() == {"0": 9, "1": 9}


@pytest.mark.long
async def test_owned_partition_and_a_missing_address_are_refused(site: Site) -> None:
    """Without --restart the app must be stopped; with it, its address must be known."""
    site.put("ownership", "0", ownerid="host")
    refused = await site.rewind("--partition", "0", "--to", "4")
    assert (refused.returncode, "it owns partition 0" in refused.stderr) == (1, True)
    assert refused.stdout.endswith("Not changed: partition 0.\n")
    del site.settings["FUNCTION_APP_URL"]
    refused = await site.rewind("--partition", "0", "--to", "4", "--restart")
    assert (refused.returncode, "FUNCTION_APP_URL is not set" in refused.stderr) == (2, True)
    assert site.trigger.checkpoints() == {"0": 9, "1": 9}


@pytest.mark.long
async def test_recreated_hub_is_rewound_with_one_command(site: Site) -> None:
    """Checkpoint and watermark lie beyond the hub's end; then neither does."""
    site.put("checkpoint", "0", offset="99900", sequencenumber="999")
    namespace = site.trigger.folder.partition("/")[0]
    source = Source(Identity(namespace, site.trigger.hub, "$Default"), "0")
    async with Redis.from_url(site.redis_url) as client:
        store = RedisProgressStore(client, ttl_seconds=600)
        await store.note_created(source, 1_700_000_000_000)
        await store.commit(
            source, (await store.reset(source, 1_700_000_000_000)).owner, Mark(999, 1), []
        )
        refused = await site.rewind("--partition", "0", "--to", "4", "--restart")
        assert "was recreated; a start at 4 would skip 4 events" in refused.stderr
        assert site.asked == [], "a refused rewind stops nothing"
        done = await site.rewind("--partition", "0", "--to-start", "--restart")
        assert done.returncode == 0, done.stderr
        assert "it ends before the checkpoint 999 and the watermark 999" in done.stdout
        progress = await store.load(source)
    assert (progress.watermark, progress.created_ms > 1_700_000_000_000) == (None, True)
    assert site.trigger.checkpoints()["0"] == -1
