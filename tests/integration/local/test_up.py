"""`python -m local up`: its endpoints, files, names and arguments."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis
from azure.core.credentials import AzureKeyCredential
from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridPublisherClient
from azure.eventhub import EventHubProducerClient
from azure.eventhub.exceptions import AuthenticationError
from azure.storage.queue import QueueServiceClient

from tests.support.local.stack import SERVICES, starting, status
from tests.support.processes import children_of, run_local, wait_for

ENDPOINTS = {
    "redis_url",
    "storage_connection_string",
    "app_storage_connection_string",
    "event_hub_connection",
    "event_hub_name",
    "event_hub_names",
    "event_hub_control_url",
    "event_grid_topic_endpoint",
    "event_grid_topic_key",
    "cloud_url",
    "management_url",
    "workflow_url",
    "console_url",
    "console_token",
    "poison_queue",
    "settings_file",
    "state_dir",
    "supervisor_pid",
}


def test_every_endpoint_serves_its_stock_client(stack: dict[str, Any]) -> None:
    with redis.Redis.from_url(stack["redis_url"]) as client:
        assert client.ping()
    for account in ("storage_connection_string", "app_storage_connection_string"):
        with QueueServiceClient.from_connection_string(stack[account]) as queue:
            queue.create_queue("stack-test")
    with EventHubProducerClient.from_connection_string(
        stack["event_hub_connection"], eventhub_name=stack["event_hub_name"]
    ) as producer:
        assert len(producer.get_partition_ids()) == 4
    key = AzureKeyCredential(stack["event_grid_topic_key"])
    with EventGridPublisherClient(stack["event_grid_topic_endpoint"], key) as publisher:
        publisher.send(CloudEvent(source="/test", type="test", data={}))
    management = httpx.get(stack["management_url"], params={"api-version": "2025-03-01"})
    assert management.json()["properties"] == {"state": "Running", "instances": 0}
    assert httpx.get(f"{stack['workflow_url']}/runs").json() == {"runs": []}
    assert httpx.get(f"{stack['console_url']}/healthz").status_code == 200
    assert httpx.get(f"{stack['event_hub_control_url']}/healthz").status_code == 200


def test_the_files_have_the_agreed_names_and_are_private(stack: dict[str, Any]) -> None:
    state_directory = Path(stack["state_dir"])
    assert set(stack) == ENDPOINTS
    settings = Path(stack["settings_file"])
    assert settings == state_directory / "local.settings.json"
    values = json.loads(settings.read_text())["Values"]
    assert values["REDIS_URL"] == stack["redis_url"]
    assert values["EventHubConnection"] == stack["event_hub_connection"]
    for file in (settings, state_directory / "endpoints.json", state_directory / "services.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_secret_is_on_a_command_line(stack: dict[str, Any]) -> None:
    """Every user of the machine can list command lines."""
    hub_key = stack["event_hub_connection"].split("SharedAccessKey=")[1].split(";")[0]
    secrets = (stack["event_grid_topic_key"], stack["console_token"], hub_key)
    for child in children_of(stack["supervisor_pid"]):
        line = " ".join(child.cmdline())
        assert not any(secret in line for secret in secrets), child.name()


def test_the_hub_rejects_another_key(stack: dict[str, Any]) -> None:
    forged = stack["event_hub_connection"].replace("SharedAccessKey=", "SharedAccessKey=AAAA")
    producer = EventHubProducerClient.from_connection_string(
        forged, eventhub_name=stack["event_hub_name"], retry_total=0
    )
    with producer, pytest.raises(AuthenticationError):
        producer.get_partition_ids()


def test_second_up_changes_nothing(stack: dict[str, Any]) -> None:
    again = run_local("up", "--state-dir", stack["state_dir"])
    assert again.returncode == 0
    assert "already up" in again.stdout
    assert stack["console_url"] in again.stdout
    after = json.loads((Path(stack["state_dir"]) / "endpoints.json").read_text())
    assert after == stack


def test_second_up_refuses_other_options(stack: dict[str, Any]) -> None:
    """The command names the options that the stack does not have, and what to do."""
    other = ("--set", "BREAKER_FAILURE_THRESHOLD=7", "--partitions", "8", "--stop-seconds", "9")
    again = run_local("up", "--state-dir", stack["state_dir"], *other)
    assert again.returncode == 1
    assert "--set BREAKER_FAILURE_THRESHOLD: the stack has another value" in again.stdout
    assert "--partitions 8: the stack has 4" in again.stdout
    assert "--stop-seconds 9: the stack has 0" in again.stdout
    assert "Run `breakwater down`, then `up` with all options" in again.stdout
    foreground = run_local("up", "--foreground", "--state-dir", stack["state_dir"], *other[:2])
    assert (foreground.returncode, "Not changed" in foreground.stdout) == (1, True)


def test_keys_are_not_printed(stack: dict[str, Any]) -> None:
    printed = run_local("up", "--state-dir", stack["state_dir"]).stdout
    assert stack["event_grid_topic_key"] not in printed
    assert "SharedAccessKey" not in printed
    assert stack["console_token"] in printed


@pytest.mark.long
def test_two_stacks_live_side_by_side(stack: dict[str, Any], tmp_path: Path) -> None:
    """The second stack is in the default directory, with its own settings and no console."""
    state_directory = tmp_path / ".local"
    changes = ("--partitions", "2", "--set", "BREAKER_FAILURE_THRESHOLD=7", "--no-console")
    try:
        result = run_local("up", "--ephemeral-ports", *changes, cwd=tmp_path)
        assert result.returncode == 0, result.stdout + result.stderr
        other = json.loads((state_directory / "endpoints.json").read_text())
        _is_apart(stack, other, state_directory)
        assert Path(other["settings_file"]) == tmp_path / "local.settings.json"
    finally:
        assert run_local("down", cwd=tmp_path).returncode == 0


def _is_apart(stack: dict[str, Any], other: dict[str, Any], state_directory: Path) -> None:
    assert other["redis_url"] != stack["redis_url"]
    assert (other["console_url"], other["console_token"]) == ("", "")
    names = {entry["name"] for entry in status(state_directory)["services"]}
    assert names == SERVICES - {"console"}
    values = json.loads(Path(other["settings_file"]).read_text())["Values"]
    assert values["BREAKER_FAILURE_THRESHOLD"] == "7"
    with EventHubProducerClient.from_connection_string(
        other["event_hub_connection"], eventhub_name=other["event_hub_name"]
    ) as producer:
        assert len(producer.get_partition_ids()) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--set", "novalue"], "--set takes NAME=VALUE"),
        (["--partitions", "0"], "1 to 1024 partitions"),
        (["--port-redis", "99999"], "a port is 0 to 65535"),
        (["--grid-retry-scale", "-1"], "a scale is above 0"),
    ],
)
def test_bad_arguments_are_refused(
    state_directory: Path, arguments: list[str], complaint: str
) -> None:
    result = run_local("up", "--state-dir", state_directory, *arguments)
    assert result.returncode == 2
    assert complaint in result.stderr


def test_a_file_as_state_directory_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    result = run_local("status", "--state-dir", file)
    assert result.returncode == 2
    assert "takes a directory" in result.stderr


@pytest.mark.long
def test_two_parallel_ups_start_one_stack(state_directory: Path) -> None:
    with starting(state_directory) as one, starting(state_directory) as other:
        tables = [process.communicate(timeout=60)[0] for process in (one, other)]
        assert [one.returncode, other.returncode] == [0, 0], tables
    assert sum("already up" in table for table in tables) == 1
    console = json.loads((state_directory / "endpoints.json").read_text())["console_url"]
    assert all(console in table for table in tables)


def test_status_shows_every_service(stack: dict[str, Any]) -> None:
    directory = Path(stack["state_dir"])
    # On a busy machine a slow service is healthy at a later poll.
    value = wait_for(lambda: (now := status(directory))["up"] and now, "all to answer")
    assert value["supervisor_pid"] == stack["supervisor_pid"]
    assert {entry["name"] for entry in value["services"]} == SERVICES
    for entry in value["services"]:
        assert entry["health"] == "healthy"
        assert entry["restarts"] == 0
        assert entry["uptime_seconds"] >= 0
        assert psutil.pid_exists(entry["pid"])
    printed = run_local("status", "--state-dir", stack["state_dir"]).stdout
    assert all(name in printed for name in SERVICES)


def test_status_without_a_stack(state_directory: Path) -> None:
    result = run_local("status", "--state-dir", state_directory)
    assert (result.returncode, result.stdout) == (3, "The stack is not running.\n")
