"""A load test that leaves its stack up with the run's data."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from azure.eventhub import EventHubProducerClient

from local.services.child import REPOSITORY
from tests.support.processes import run_local, wait_for

RUN = "run --scenario outage --events 1500 --keys 60 --poison-every 500 --outage-after 300 --keep"
LESS = "--approve-after 0.2 --json-only --set BREAKER_FAILURE_THRESHOLD=25"


def run_in(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a command line as a person does in a folder of their own."""
    return subprocess.run(
        shlex.split(line),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.long
@pytest.mark.timeout(600)
def test_kept_run_can_be_looked_at(tmp_path: Path) -> None:
    """Its last lines name commands that work, and `down` keeps the data until it is wiped."""
    try:
        done = run_in(tmp_path, f"{sys.executable} -m loadtest {RUN} {LESS}")
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.partition("The stack is up with the run's data, in .local:\n")[2]
        named = [re.split(r"  +", line.strip())[0] for line in lines.splitlines()]
        circuit, history, poison, services, console, host, down, wipe, token = named
        endpoints = json.loads((tmp_path / ".local" / "endpoints.json").read_text())
        assert console == endpoints["console_url"]
        assert token == f"The console's token is {endpoints['console_token']}."
        assert "opened" in run_in(tmp_path, history).stdout
        for each in (circuit, services):
            shown = run_in(tmp_path, each)
            assert shown.returncode == 0, each + shown.stdout + shown.stderr
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert f"{report['poisoned']} " in run_in(tmp_path, poison).stdout
        with EventHubProducerClient.from_connection_string(
            endpoints["event_hub_connection"], eventhub_name=endpoints["event_hub_name"]
        ) as producer:
            last = [
                producer.get_partition_properties(each)["last_enqueued_sequence_number"]
                for each in producer.get_partition_ids()
            ]
        assert sum(number + 1 for number in last) == 1500
        _runs_the_app(tmp_path, host)
        again = run_in(tmp_path, f"{sys.executable} -m loadtest {RUN} {LESS}")
        assert again.returncode == 2
        assert "has the data of another stack; delete it with" in again.stderr
        assert "Its data is kept" in run_in(tmp_path, down).stdout
        assert "Its data is deleted" in run_in(tmp_path, wipe).stdout
    finally:
        run_local("down", "--wipe", "--state-dir", tmp_path / ".local")


def _runs_the_app(folder: Path, line: str) -> None:
    """Run the host of the last lines until it has claimed the partitions, and end it."""
    command = [*shlex.split(line), "--app", str(REPOSITORY), "--port", "0"]
    with subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ) as process:
        try:
            wait_for(lambda: list((folder / ".local" / "hosts").glob("*.json")), "the app's start")
        finally:
            process.terminate()
            assert process.wait(60) == 0
