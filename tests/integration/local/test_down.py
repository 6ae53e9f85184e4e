"""The end of a stack by any means, which leaves no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis
from azure.eventhub import EventData, EventHubProducerClient
from azure.storage.queue import QueueClient

from local.site import SiteState
from tests.support.local.stack import SERVICES, recorded, starting, status, up
from tests.support.processes import children_of, run_local, running_stack, wait_for, wait_until_gone


@pytest.mark.long
def test_down_keeps_the_data_until_it_is_wiped(state_directory: Path) -> None:
    """The next `up` continues with events, Redis, queues, keys, addresses and the app's state."""
    first = up(state_directory)
    processes = [psutil.Process(first["supervisor_pid"]), *children_of(first["supervisor_pid"])]
    before = fill(first)
    httpx.post(f"{first['management_url']}/stop", params={"api-version": "2025-03-01"})
    said = run_local("down", "--state-dir", state_directory).stdout
    assert "The stack is down. Its data is kept" in said
    assert wait_until_gone(processes, timeout=0) == []
    assert not (state_directory / "endpoints.json").exists()
    # The helper of other tests must also leave no process behind.
    with running_stack(state_directory, "--no-console") as second:
        processes = children_of(second["supervisor_pid"])
        assert content(second) == before
        pid, console = {"supervisor_pid": 0}, {"console_url": "", "console_token": ""}
        assert second | pid == first | pid | console
        assert SiteState(state_directory).read() == "Stopped"
    assert wait_until_gone(processes) == []
    wiped = run_local("down", "--wipe", "--state-dir", state_directory)
    assert (wiped.returncode, wiped.stdout) == (
        *(0, "The stack is not running. Its data is deleted.\n"),
    )
    assert not (state_directory / "data").exists()
    assert SiteState(state_directory).read() == "Running"
    again = run_local("down", "--state-dir", state_directory)
    assert (again.returncode, again.stdout) == (0, "The stack is not running.\n")


def fill(endpoints: dict[str, Any]) -> tuple[Any, ...]:
    """Write to Redis, the poison queue and the hub, and return the content."""
    with redis.Redis.from_url(endpoints["redis_url"]) as client:
        client.set("old", "1")
    with QueueClient.from_connection_string(
        endpoints["app_storage_connection_string"], endpoints["poison_queue"]
    ) as queue:
        queue.create_queue()
        queue.send_message("poison")
    with producer_of(endpoints) as producer:
        producer.send_batch([EventData("a"), EventData("b")], partition_id="2")
    return content(endpoints)


def content(endpoints: dict[str, Any]) -> tuple[Any, ...]:
    """Return the content of Redis, the poison queue and the hub."""
    with redis.Redis.from_url(endpoints["redis_url"]) as client:
        value = client.get("old")
    with QueueClient.from_connection_string(
        endpoints["app_storage_connection_string"], endpoints["poison_queue"]
    ) as queue:
        messages = [message.content for message in queue.peek_messages()]
    with producer_of(endpoints) as producer:
        hub, partition = producer.get_eventhub_properties(), producer.get_partition_properties("2")
    assert (value, messages, partition["last_enqueued_sequence_number"]) == (b"1", ["poison"], 1)
    return value, messages, hub, partition


def producer_of(endpoints: dict[str, Any]) -> EventHubProducerClient:
    return EventHubProducerClient.from_connection_string(
        endpoints["event_hub_connection"], eventhub_name=endpoints["event_hub_name"]
    )


@pytest.mark.long
def test_killed_supervisor_leaves_no_children(state_directory: Path) -> None:
    """Afterwards `up` works again with the data, here until its lifeline ends."""
    endpoints = up(state_directory, "--no-console")
    before = fill(endpoints)
    children = children_of(endpoints["supervisor_pid"])
    assert len(children) == len(SERVICES - {"console"})
    os.kill(endpoints["supervisor_pid"], signal.SIGKILL)
    assert wait_until_gone(children) == []
    assert {entry["health"] for entry in status(state_directory)["services"]} == {"dead"}
    assert run_local("down", "--state-dir", state_directory).returncode == 0
    with starting(state_directory, "--lifeline", "--no-console") as process:
        wait_for((state_directory / "endpoints.json").exists, "endpoints.json", timeout=90)
        assert content(json.loads((state_directory / "endpoints.json").read_text())) == before
        _end_lifeline(state_directory, process)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_signal_ends_the_foreground_stack(state_directory: Path, number: signal.Signals) -> None:
    with starting(state_directory, "--foreground", "--no-console") as process:
        wait_for((state_directory / "endpoints.json").exists, "endpoints.json", timeout=90)
        processes = recorded(state_directory)
        process.send_signal(number)
        assert process.wait(60) == 0
        assert wait_until_gone(processes) == []


def test_closed_lifeline_ends_the_foreground_stack(state_directory: Path) -> None:
    with starting(state_directory, "--lifeline", "--no-console", "--foreground") as process:
        _end_lifeline(state_directory, process)


def _end_lifeline(state_directory: Path, process: subprocess.Popen[str]) -> None:
    wait_for((state_directory / "endpoints.json").exists, "endpoints.json", timeout=90)
    processes = recorded(state_directory)
    assert process.stdin is not None
    process.stdin.close()
    assert wait_until_gone(processes) == []


def test_a_lifeline_must_be_a_pipe(state_directory: Path) -> None:
    result = run_local("up", "--lifeline", "--ephemeral-ports", "--state-dir", state_directory)
    assert result.returncode == 1
    assert "needs a pipe" in result.stdout


def test_down_ends_the_children_of_a_dead_supervisor(state_directory: Path) -> None:
    """If the kernel did not end the children, `down` finds them in the record."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        created = psutil.Process(child.pid).create_time()
        write_record(state_directory, child.pid, created)
        result = run_local("down", "--state-dir", state_directory)
        assert "ended its remaining services: redis" in result.stdout
        assert child.wait(60) == -signal.SIGTERM


def test_down_spares_another_process_with_a_recorded_pid(state_directory: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        write_record(state_directory, child.pid, psutil.Process(child.pid).create_time() - 60)
        assert (
            run_local("down", "--state-dir", state_directory).stdout
            == "The stack is not running.\n"
        )
        assert child.poll() is None
        child.kill()


def write_record(state_directory: Path, pid: int, created: float) -> None:
    """Write the record of a dead supervisor with one child."""
    state_directory.mkdir(parents=True)
    child = {"name": "redis", "pid": pid, "created": created}
    record = {"supervisor": {"pid": 2**22 + 1, "created": 1.0}, "services": [child]}
    (state_directory / "services.json").write_text(json.dumps(record))
