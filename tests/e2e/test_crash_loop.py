"""CASES E: deploys that kill all processes, on the whole stack with real hosts."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient

from breaker.configuration.local_settings import read_local_settings
from loadtest.target.hosts import host_instances
from processing.crashes.process import ProcessName
from processing.crashes.records import AloneRun, parsed
from processing.operations import open_poison
from tests.support.local.hosts import running_hosts
from tests.support.processes import running_stack, wait_for
from tests.support.processing.browsing import browse

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

HANDLER = "tests.support.handlers.ending:handle"
PARTITIONS = "012"
PATIENCE = 100.0


class App:
    """The app on a stack of its own.

    Args:
        endpoints: the stack's endpoints.json.
        log: the file in which the handler notes its calls.
    """

    def __init__(self, endpoints: dict[str, Any], log: Path) -> None:
        self.endpoints = endpoints
        self.state = Path(endpoints["state_dir"])
        self._log = log

    def send(self, partition: str, *bodies: str) -> None:
        """Send events without a key to a partition."""
        asyncio.run(self._send(partition, bodies))

    async def _send(self, partition: str, bodies: tuple[str, ...]) -> None:
        async with EventHubProducerClient.from_connection_string(
            self.endpoints["event_hub_connection"], eventhub_name=self.endpoints["event_hub_name"]
        ) as client:
            batch = await client.create_batch(partition_id=partition)
            for body in bodies:
                batch.add(EventData(body))
            await client.send_batch(batch)

    def calls(self, what: str) -> Counter[tuple[str, int]]:
        """Return how often the handler's call of each event has started or ended."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return Counter(
            (partition, int(number))
            for each, partition, number, _ in map(str.split, lines)
            if each == what
        )

    def wait_until_handled(self, *events: tuple[str, int]) -> None:
        """Wait until the handler's call of each event has ended."""
        wait_for(lambda: set(events) <= set(self.calls("end")), self.hosts_log, PATIENCE)

    def poisoned(self) -> dict[tuple[str, int], str]:
        """Return the error of each poisoned event."""

        async def read() -> dict[tuple[str, int], str]:
            async with open_poison(settings) as storage:
                return {
                    (each.partition, each.sequence_number): each.error.message
                    for each in await browse(storage.reader)
                }

        settings = read_local_settings(Path(self.endpoints["settings_file"]))
        return asyncio.run(read())

    def hosts_log(self) -> str:
        return "\n".join(path.read_text() for path in self.state.glob("hosts-*.log"))

    def runs_slowly(self) -> bool:
        """Return whether a living host has started a slow event, which is the first one."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        pids = self.pids()
        calls = [line.split() for line in lines]
        return any(
            what == "start" and number == "0" and int(pid) in pids for what, _, number, pid in calls
        )

    def beating(self) -> set[int]:
        """Return the process ids of the hosts that have recorded a heartbeat."""
        with redis.Redis.from_url(self.endpoints["redis_url"], decode_responses=True) as client:
            keys = list(client.scan_iter("breakwater:*:alive"))
            found = [str(each) for key in keys for each in client.zrange(key, 0, -1)]
        return set(self.pids()) & {process.pid for process in parsed(ProcessName, found)}

    def pids(self) -> list[int]:
        """Return the process ids of the hosts."""
        return [each.pid for each in host_instances(self.state)]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Run a stack with three partitions, without hosts."""
    log = tmp_path / "calls"
    monkeypatch.setenv("ENDING_LOG", str(log))
    options = (
        "--no-console",
        "--partitions",
        f"{len(PARTITIONS)}",
        "--set",
        f"EVENT_HANDLER={HANDLER}",
    )
    with running_stack(tmp_path / "stack", *options) as endpoints:
        yield App(endpoints, log)


def test_six_deploys_with_sigkill_poison_nothing(app: App) -> None:
    """Each deploy kills all hosts, and finds slow events at the same time of their calls.

    A host that has not had a batch yet has no heartbeat, so each deploy waits for two hosts.
    """
    for partition in PARTITIONS:
        app.send(partition, "slow:8", "x", "x")
    with running_hosts(app.endpoints, "--lease", "3", instances=3):
        for deploy in range(6):
            wait_for(lambda: len(app.beating()) >= 2, app.hosts_log, PATIENCE)
            wait_for(app.runs_slowly, app.hosts_log, PATIENCE)
            if deploy >= 3:  # careful mode
                wait_for(lambda: runs_alone(app, 1.0), app.hosts_log, PATIENCE)
            killed = app.pids()
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not set(killed) & set(app.pids()), app.hosts_log)  # noqa: B023
        assert "Careful mode begins" in app.hosts_log()
        app.wait_until_handled(*((each, number) for each in PARTITIONS for number in range(3)))
        assert app.poisoned() == {}
    assert "gave up" not in app.hosts_log()


def runs_alone(app: App, seconds: float) -> bool:
    """Return whether an event is known to have run alone for this time in a living host."""
    with redis.Redis.from_url(app.endpoints["redis_url"], decode_responses=True) as client:
        states = [client.hget(key, "alone") for key in client.scan_iter("*:parking:state")]
    pids = app.pids()
    runs = [run for text in states for run in parsed(AloneRun, str(text or "").splitlines())]
    return any(run.process.pid in pids and run.seconds >= seconds for run in runs)
