"""`python -m local up|down|status`: real processes, real ports, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
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

from local.services.child import REPOSITORY
from tests.processes import (
    children_of,
    local_command,
    run_local,
    running_stack,
    wait_for,
    wait_until_gone,
)

SERVICES = {"azurite", "redis", "console", "event-hubs", "cloud"}
ENDPOINTS = {
    "redis_url",
    "storage_connection_string",
    "event_hub_connection",
    "event_hub_name",
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


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A state directory; whatever is up in it at the end of the test is taken down."""
    path = tmp_path / "state"
    yield path
    run_local("down", "--state-dir", path)


def up(directory: Path, *arguments: str) -> dict[str, Any]:
    """`up` in the background on free ports; the endpoints."""
    result = run_local("up", "--ephemeral-ports", "--state-dir", directory, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    endpoints: dict[str, Any] = json.loads((directory / "endpoints.json").read_text())
    return endpoints


def status(directory: Path) -> dict[str, Any]:
    result = run_local("status", "--json", "--state-dir", directory)
    value: dict[str, Any] = json.loads(result.stdout)
    assert result.returncode == (0 if value["up"] else 3)
    return value


def service(directory: Path, name: str) -> dict[str, Any]:
    services: list[dict[str, Any]] = status(directory)["services"]
    return next(entry for entry in services if entry["name"] == name)


@contextlib.contextmanager
def starting(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """An `up` whose children have been started but need not be healthy yet."""
    command = local_command("up", "--ephemeral-ports", "--state-dir", directory, *arguments)
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def recorded(directory: Path) -> list[psutil.Process]:
    """Supervisor and children of the record, as soon as there are children in it."""

    def read() -> list[psutil.Process]:
        with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
            record = json.loads((directory / "services.json").read_text())
            if any(entry["pid"] for entry in record["services"]):
                supervisor = psutil.Process(record["supervisor"]["pid"])
                return [supervisor, *supervisor.children(recursive=True)]
        return []

    processes: list[psutil.Process] = wait_for(read, "the start of the children")
    return processes


class TestUp:
    def test_every_endpoint_serves_its_stock_client(self, stack: dict[str, Any]) -> None:
        with redis.Redis.from_url(stack["redis_url"]) as client:
            assert client.ping()
        with QueueServiceClient.from_connection_string(stack["storage_connection_string"]) as queue:
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

    def test_the_files_have_the_agreed_names_and_are_private(self, stack: dict[str, Any]) -> None:
        directory = Path(stack["state_dir"])
        assert set(stack) == ENDPOINTS
        settings = Path(stack["settings_file"])
        assert settings == directory / "local.settings.json"
        values = json.loads(settings.read_text())["Values"]
        assert values["REDIS_URL"] == stack["redis_url"]
        assert values["EventHubConnection"] == stack["event_hub_connection"]
        for file in (settings, directory / "endpoints.json", directory / "services.json"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_no_secret_is_on_a_command_line(self, stack: dict[str, Any]) -> None:
        """Every user of the machine can list those."""
        hub_key = stack["event_hub_connection"].split("SharedAccessKey=")[1].split(";")[0]
        secrets = (stack["event_grid_topic_key"], stack["console_token"], hub_key)
        for child in children_of(stack["supervisor_pid"]):
            line = " ".join(child.cmdline())
            assert not any(secret in line for secret in secrets), child.name()

    def test_the_hub_takes_nothing_without_the_stacks_key(self, stack: dict[str, Any]) -> None:
        forged = stack["event_hub_connection"].replace("SharedAccessKey=", "SharedAccessKey=AAAA")
        producer = EventHubProducerClient.from_connection_string(
            forged, eventhub_name=stack["event_hub_name"], retry_total=0
        )
        with producer, pytest.raises(AuthenticationError):
            producer.get_partition_ids()

    def test_a_second_up_says_so_and_changes_nothing(self, stack: dict[str, Any]) -> None:
        again = run_local("up", "--state-dir", stack["state_dir"])
        assert again.returncode == 0
        assert "already up" in again.stdout
        assert stack["console_url"] in again.stdout
        after = json.loads((Path(stack["state_dir"]) / "endpoints.json").read_text())
        assert after == stack

    def test_keys_are_not_printed(self, stack: dict[str, Any]) -> None:
        printed = run_local("up", "--state-dir", stack["state_dir"]).stdout
        assert stack["event_grid_topic_key"] not in printed
        assert "SharedAccessKey" not in printed
        assert stack["console_token"] in printed

    def test_two_stacks_live_side_by_side(self, stack: dict[str, Any], directory: Path) -> None:
        other = up(directory, "--partitions", "2", "--set", "BREAKER_FAILURE_THRESHOLD=7")
        assert other["redis_url"] != stack["redis_url"]
        assert other["console_token"] != stack["console_token"]
        values = json.loads(Path(other["settings_file"]).read_text())["Values"]
        assert values["BREAKER_FAILURE_THRESHOLD"] == "7"
        with EventHubProducerClient.from_connection_string(
            other["event_hub_connection"], eventhub_name=other["event_hub_name"]
        ) as producer:
            assert len(producer.get_partition_ids()) == 2

    def test_the_default_directory_puts_the_settings_where_func_start_looks(
        self, tmp_path: Path
    ) -> None:
        try:
            result = run_local("up", "--ephemeral-ports", cwd=tmp_path)
            assert result.returncode == 0, result.stdout + result.stderr
            assert (tmp_path / "local.settings.json").is_file()
            assert (tmp_path / ".local" / "endpoints.json").is_file()
        finally:
            assert run_local("down", cwd=tmp_path).returncode == 0

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
        self, directory: Path, arguments: list[str], complaint: str
    ) -> None:
        result = run_local("up", "--state-dir", directory, *arguments)
        assert result.returncode == 2
        assert complaint in result.stderr

    def test_a_file_as_state_directory_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        result = run_local("status", "--state-dir", file)
        assert result.returncode == 2
        assert "takes a directory" in result.stderr

    def test_two_at_once_make_one_stack(self, directory: Path) -> None:
        with starting(directory) as one, starting(directory) as other:
            tables = [process.communicate(timeout=60)[0] for process in (one, other)]
            assert [one.returncode, other.returncode] == [0, 0], tables
        assert sum("already up" in table for table in tables) == 1
        console = json.loads((directory / "endpoints.json").read_text())["console_url"]
        assert all(console in table for table in tables)


class TestFailedStart:
    def test_a_taken_port_is_named_and_nothing_is_left(self, directory: Path) -> None:
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = holder.getsockname()[1]
            result = run_local(
                *("up", "--ephemeral-ports", "--port-cloud", str(port), "--state-dir", directory)
            )
        assert result.returncode == 1
        assert f"port {port} for cloud is taken" in result.stdout
        assert "--port-cloud" in result.stdout
        assert not (directory / "endpoints.json").exists()
        assert status(directory)["services"] == []

    def test_a_service_that_does_not_come_up_is_shown_with_its_log(
        self, directory: Path, tmp_path: Path
    ) -> None:
        """Nothing of the others stays behind."""
        broken = tmp_path / "bin"
        broken.mkdir()
        server = broken / "redis-server"
        server.write_text("#!/bin/sh\necho no memory today >&2\nexit 7\n")
        server.chmod(0o755)
        command = local_command("up", "--ephemeral-ports", "--state-dir", directory)
        environment = os.environ | {"PATH": f"{broken}:{os.environ['PATH']}"}
        result = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 1
        assert "redis ended with exit code 7" in result.stdout
        assert "no memory today" in result.stdout
        assert status(directory)["services"] == []

    def test_a_missing_program_is_named(self, directory: Path) -> None:
        command = local_command("up", "--ephemeral-ports", "--state-dir", directory)
        environment = {**os.environ, "PATH": str(directory)}
        result = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 1
        assert "no Node.js on PATH" in result.stdout

    def test_down_ends_a_stack_that_is_still_starting(self, directory: Path) -> None:
        with starting(directory) as process:
            processes = recorded(directory)
            assert run_local("down", "--state-dir", directory).returncode == 0
            assert wait_until_gone(processes, timeout=0) == []
            output, _ = process.communicate(timeout=20)
        # On a busy machine it may have been up just before: then it was ended as any other.
        if process.returncode:
            assert process.returncode == 1
            assert "stopped before everything was up" in output

    def test_a_state_directory_that_cannot_be_made_is_named(self) -> None:
        result = run_local("up", "--ephemeral-ports", "--state-dir", "/proc/nowhere")
        assert result.returncode == 1
        assert "/proc/nowhere" in result.stderr
        assert "Traceback" not in result.stderr

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_an_interrupted_up_leaves_nothing(
        self, directory: Path, number: signal.Signals
    ) -> None:
        with starting(directory) as process:
            processes = recorded(directory)
            process.send_signal(number)
            output, _ = process.communicate(timeout=20)
            assert process.returncode == 130, output
            assert wait_until_gone(processes) == []
        assert not (directory / "endpoints.json").exists()

    def test_a_killed_up_takes_its_supervisor_along(self, directory: Path) -> None:
        with starting(directory) as process:
            processes = recorded(directory)
            process.kill()
            assert wait_until_gone(processes) == []


class TestEnd:
    def test_down_leaves_nothing_and_up_works_again(self, directory: Path) -> None:
        first = up(directory)
        processes = [psutil.Process(first["supervisor_pid"]), *children_of(first["supervisor_pid"])]
        with redis.Redis.from_url(first["redis_url"]) as client:
            client.set("old", "1")
        assert "is down" in run_local("down", "--state-dir", directory).stdout
        assert wait_until_gone(processes, timeout=0) == []
        assert not (directory / "endpoints.json").exists()
        again = run_local("down", "--state-dir", directory)
        assert (again.returncode, again.stdout) == (0, "Nothing is up.\n")
        second = up(directory)
        assert second["event_grid_topic_key"] != first["event_grid_topic_key"]
        with redis.Redis.from_url(second["redis_url"]) as client:
            assert not client.exists("old")

    def test_a_killed_supervisor_leaves_no_children(self, directory: Path) -> None:
        endpoints = up(directory)
        children = children_of(endpoints["supervisor_pid"])
        assert len(children) == len(SERVICES)
        os.kill(endpoints["supervisor_pid"], signal.SIGKILL)
        assert wait_until_gone(children) == []
        assert {entry["health"] for entry in status(directory)["services"]} == {"dead"}
        assert run_local("down", "--state-dir", directory).returncode == 0
        assert up(directory)["supervisor_pid"] != endpoints["supervisor_pid"]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_foreground_ends_with_a_signal(
        self, directory: Path, number: signal.Signals
    ) -> None:
        with starting(directory, "--foreground") as process:
            wait_for((directory / "endpoints.json").exists, "endpoints.json")
            processes = recorded(directory)
            process.send_signal(number)
            assert process.wait(20) == 0
            assert wait_until_gone(processes) == []

    @pytest.mark.parametrize("foreground", [["--foreground"], []])
    def test_the_end_of_the_lifeline_ends_the_stack(
        self, directory: Path, foreground: list[str]
    ) -> None:
        with starting(directory, "--lifeline", *foreground) as process:
            wait_for((directory / "endpoints.json").exists, "endpoints.json")
            processes = recorded(directory)
            assert process.stdin is not None
            process.stdin.close()
            assert wait_until_gone(processes) == []

    def test_a_lifeline_that_is_no_pipe_is_refused(self, directory: Path) -> None:
        result = run_local("up", "--lifeline", "--ephemeral-ports", "--state-dir", directory)
        assert result.returncode == 1
        assert "needs a pipe" in result.stdout

    def test_down_ends_what_a_dead_supervisor_has_left(self, directory: Path) -> None:
        """Where the kernel does not do it, the record does."""
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            created = psutil.Process(child.pid).create_time()
            write_record(directory, child.pid, created)
            result = run_local("down", "--state-dir", directory)
            assert "ended what it had left: redis" in result.stdout
            assert child.wait(5) == -signal.SIGTERM

    def test_down_spares_a_stranger_with_a_recorded_pid(self, directory: Path) -> None:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            write_record(directory, child.pid, psutil.Process(child.pid).create_time() - 60)
            assert run_local("down", "--state-dir", directory).stdout == "Nothing is up.\n"
            assert child.poll() is None
            child.kill()


def write_record(directory: Path, pid: int, created: float) -> None:
    """What a supervisor that is gone would have left."""
    directory.mkdir(parents=True)
    child = {"name": "redis", "pid": pid, "created": created}
    record = {"supervisor": {"pid": 2**22 + 1, "created": 1.0}, "services": [child]}
    (directory / "services.json").write_text(json.dumps(record))


class TestCrash:
    def test_a_crashed_service_comes_back_with_its_data(self, directory: Path) -> None:
        endpoints = up(directory)
        before = service(directory, "redis")
        with redis.Redis.from_url(endpoints["redis_url"]) as client:
            client.set("key", "value")
        os.kill(before["pid"], signal.SIGKILL)
        after = wait_for(
            lambda: (
                (now := service(directory, "redis"))["restarts"] == 1
                and now["health"] == "healthy"
                and now
            ),
            "the restart of redis",
        )
        assert after["pid"] != before["pid"]
        with redis.Redis.from_url(endpoints["redis_url"]) as client:
            assert client.get("key") == b"value"
        log = (directory / "logs" / "supervisor.log").read_text()
        assert "redis: ended with signal SIGKILL; restart 1" in log

    def test_restarts_are_bounded_and_the_end_of_them_is_reported(self, directory: Path) -> None:
        up(directory)
        for restarts in range(6):
            pid = wait_for(
                lambda: (
                    (now := service(directory, "redis"))["restarts"] == restarts  # noqa: B023
                    and now["health"] == "healthy"
                    and now["pid"]
                ),
                f"restart {restarts}",
            )
            os.kill(pid, signal.SIGKILL)
        failed = wait_for(
            lambda: (now := service(directory, "redis"))["health"] == "failed" and now,
            "giving up",
        )
        assert "gave up after 5 restarts in 60 s" in failed["problem"]
        assert service(directory, "cloud")["health"] == "healthy"
        assert "gave up" in run_local("status", "--state-dir", directory).stdout


def test_status_shows_every_service(stack: dict[str, Any]) -> None:
    value = status(Path(stack["state_dir"]))
    assert value["up"]
    assert value["supervisor_pid"] == stack["supervisor_pid"]
    assert {entry["name"] for entry in value["services"]} == SERVICES
    for entry in value["services"]:
        assert entry["health"] == "healthy"
        assert entry["restarts"] == 0
        assert entry["uptime_seconds"] >= 0
        assert psutil.pid_exists(entry["pid"])
    printed = run_local("status", "--state-dir", stack["state_dir"]).stdout
    assert all(name in printed for name in SERVICES)


def test_status_of_nothing(directory: Path) -> None:
    result = run_local("status", "--state-dir", directory)
    assert (result.returncode, result.stdout) == (3, "Nothing is up.\n")


def test_the_test_helper_leaves_nothing(tmp_path: Path) -> None:
    with running_stack(tmp_path / "state") as endpoints:
        processes = children_of(endpoints["supervisor_pid"])
    assert wait_until_gone(processes) == []
