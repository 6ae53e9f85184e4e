"""The endpoint process: command line, control port, signals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.eventhub import EventData, EventHubProducerClient
from azure.eventhub.exceptions import AuthenticationError, EventHubError

from local.event_hubs.__main__ import build_server, main, parse_arguments
from local.services.ports import free_port
from tests.support.event_hubs import client_helpers as support
from tests.support.event_hubs.client_helpers import HUB, PATIENCE
from tests.support.event_hubs.prompt_clients import PROMPT

ROOT = Path(__file__).parents[4]
COMMAND = (sys.executable, "-m", "local.event_hubs")


@contextmanager
def endpoint(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run an endpoint; yield the process and its AMQP port."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            match = re.match(r"ready: AMQP on port (\d+)", ready)
            assert match, ready
            yield process, int(match[1])
        finally:
            process.kill()


def producer(port: int, key: str = "a2V5") -> EventHubProducerClient:
    return EventHubProducerClient.from_connection_string(
        f"Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName=root;SharedAccessKey={key};"
        "UseDevelopmentEmulator=true;",
        eventhub_name=HUB,
        **PROMPT,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_serves_a_config_file_until_a_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    """The process prints one line when ready; a signal ends the process despite open clients."""
    entity = {"Name": HUB, "PartitionCount": 3, "ConsumerGroups": []}
    config = {"UserConfig": {"NamespaceConfig": [{"Type": "EventHub", "Entities": [entity]}]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with endpoint("--config", str(tmp_path / "config.json")) as (process, port):
        with producer(port) as client:
            client.send_event(EventData(b"x"))
            assert client.get_partition_ids() == ["0", "1", "2"]
        with socket.create_connection(("127.0.0.1", port)):
            process.send_signal(number)
            out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert (out, err) == ("", "")


def test_taken_port_is_an_error_in_one_line() -> None:
    """The process prints one line and exits with 1, for either port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments in (("--port", port), ("--port", "0", "--control-port", port)):
            result = subprocess.run(
                [*COMMAND, "--hub", HUB, *arguments],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert result.returncode == 1
            assert result.stdout == ""
            assert result.stderr.count("\n") == 1
            assert f"port {port}" in result.stderr
            assert "in use" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either --config or --hub"),
        (("--config", "/nonexistent.json"), "No such file"),
        (("--hub", "a/b"), "event hub name 'a/b'"),
        (("--hub", "a", "--partitions", "0"), "must be 1 to 1024, got 0"),
        (("--hub", "a", "--retention-count", "0"), "max_events must be greater than 0, got 0"),
        (("--hub", "a", "--key", "novalue"), "NAME=VALUE"),
    ],
)
def test_bad_arguments_are_clear_errors(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err


def test_a_key_may_come_from_the_environment() -> None:
    """A key in the environment is not visible in the process list."""
    with endpoint("--hub", HUB, EVENT_HUBS_KEY="root=cmlnaHQ=") as (_, port):
        with producer(port, "cmlnaHQ=") as client:
            client.send_event(EventData(b"x"))
        with producer(port, "d3Jvbmc=") as client, pytest.raises(AuthenticationError):
            client.send_event(EventData(b"x"))


def test_control_port_serves_health_hubs_and_faults() -> None:
    """The port serves health, hubs and faults, and returns errors that name the wrong field."""
    control = free_port()
    with (
        endpoint("--hub", HUB, "--partitions", "2", "--control-port", str(control)) as (_, port),
        httpx.Client(base_url=f"http://127.0.0.1:{control}") as http,
    ):
        assert http.get("/healthz").json() == {"status": "ok", "connections": 0}
        with producer(port) as client:
            client.send_event(EventData(b"x"), partition_id="1")
        first, second = http.get(f"/hubs/{HUB}").json()["partitions"]
        assert (first["count"], first["last_sequence_number"]) == (0, -1)
        assert (second["partition"], second["count"]) == ("1", 1)
        assert (second["begin_sequence_number"], second["last_sequence_number"]) == (0, 0)
        assert [found["name"] for found in http.get("/hubs").json()["hubs"]] == [HUB]

        assert http.post("/faults/detach", json={"hub": HUB}).json() == {"detached": 0}
        assert http.post("/faults/redeliver", json={"hub": HUB}).json() == {"redelivered": 0}
        assert http.post("/faults/throttle", json={"hub": HUB, "seconds": 60}).status_code == 200
        with producer(port) as client, pytest.raises(EventHubError, match="server-busy"):
            client.send_event(EventData(b"x"))
        http.post("/faults/throttle", json={"hub": HUB, "seconds": 0})
        while http.get("/healthz").json()["connections"]:
            pass
        with socket.create_connection(("127.0.0.1", port)) as connection:
            while not http.get("/healthz").json()["connections"]:
                pass
            assert http.post("/faults/drop").json() == {"dropped": 1}
            assert connection.recv(1) == b""

        assert http.delete(f"/hubs/{HUB}").status_code == 204
        assert http.get(f"/hubs/{HUB}").status_code == 404
        assert http.delete(f"/hubs/{HUB}").status_code == 404
        created = http.put(f"/hubs/{HUB}", json={"partitionCount": 7})
        assert created.status_code == 201
        assert len(created.json()["partitions"]) == 7
        with producer(port) as client:
            assert len(client.get_partition_ids()) == 7

        bad: list[tuple[str, str, Any, str]] = [
            ("PUT", "/hubs/x", {"partitionCount": "y"}, "partitionCount must be a number"),
            ("PUT", "/hubs/x", {"partitionCount": 0}, "must be 1 to 1024"),
            ("PUT", "/hubs/x", {"consumerGroups": "g"}, "consumerGroups must be a list"),
            ("PUT", "/hubs/x", [], "must be a JSON object"),
            ("POST", "/faults/throttle", {"hub": HUB, "seconds": "z"}, "seconds must be a number"),
        ]
        for method, path, body, message in bad:
            answer = http.request(method, path, json=body)
            assert answer.status_code == 400
            assert message in answer.json()["error"]
        assert http.post("/faults/detach", content=b"{").status_code == 400
        assert http.post("/faults/detach", json={"hub": "nosuch"}).status_code == 404


def test_killed_process_keeps_its_hub(tmp_path: Path) -> None:
    """Acknowledged events come back with their positions and times, and the hub with its age."""
    arguments = ("--hub", HUB, "--partitions", "2", "--data", str(tmp_path))
    found: list[Any] = []
    for number in range(2):
        with endpoint(*arguments) as (process, port), producer(port) as client:
            if not number:
                client.send_batch([EventData(b"a"), EventData(b"b")], partition_id="1")
            created = client.get_eventhub_properties()["created_at"]
            found.append((created, client.get_partition_properties("1")))
            process.kill()
            process.wait(PATIENCE)
    assert found[0] == found[1]
    assert found[1][1]["last_enqueued_sequence_number"] == 1


async def test_second_process_is_refused_a_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--hub", HUB, "--port", "0", "--data", str(tmp_path)]
    async with build_server(parse_arguments(arguments), {}):
        assert main(arguments) == 1
    assert f"error: another Event Hubs endpoint uses {tmp_path}" in capsys.readouterr().err


async def test_command_line_sets_retention() -> None:
    arguments = ["--hub", HUB, "--port", "0", "--partitions", "1", "--retention-count", "5"]
    async with (
        build_server(parse_arguments(arguments), {}) as server,
        support.producer(server) as client,
    ):
        await client.send_batch([EventData(b"x") for _ in range(12)])
        properties = await client.get_partition_properties("0")
    assert properties["beginning_sequence_number"] == 7
    assert properties["last_enqueued_sequence_number"] == 11
