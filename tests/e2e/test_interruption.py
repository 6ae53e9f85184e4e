"""After Ctrl-C, SIGTERM and SIGKILL no process is left, and the next run works."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from loadtest.target.stack import PROJECT, processes_naming
from tests.support.loadtest.runs import Finished, assert_kept, command, run
from tests.support.processes import children_of, wait_for, wait_until_gone

LONG = "--scenario steady --events 100000 --rate 500 --no-console"
DEMO = (
    "--scenario outage --events 6000 --keys 60 --poison-every 600 --outage-after 1000 "
    "--rate 2000 --approve-after 0.5 --set BREAKER_FAILURE_THRESHOLD=25"
)


@contextmanager
def running(directory: Path, line: str) -> Iterator[subprocess.Popen[str]]:
    """Start a run as a shell does, as the leader of a process group, and yield it."""
    process = subprocess.Popen(
        command(directory, line),
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def command_of(process: psutil.Process) -> str:
    """Return the process's command line, or "" if the process has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def in_full_swing(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Wait until events are sent, and return every process that the run has started."""
    assert process.stdout is not None
    for line in process.stdout:
        if "sending and handling" in line:
            break
    parts = ("redis-server", "azurite", "event_hubs", "functions_host", "loadtest.send.producer")

    def everything() -> list[psutil.Process]:
        family = children_of(process.pid)
        names = " ".join(command_of(each) for each in family)
        return family if all(part in names for part in parts) else []

    family: list[psutil.Process] = wait_for(everything, f"{', '.join(parts)}")
    return family


@pytest.mark.long
@pytest.mark.timeout(240)  # two runs
def test_ctrl_c_stops_everything_and_the_demo_works_afterwards(tmp_path: Path) -> None:
    with running(tmp_path, LONG) as process:
        family = in_full_swing(process)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        output = process.stdout.read()
        assert process.wait(60) == 130, output
    assert "every process that the run started has stopped" in output
    assert wait_until_gone(family, timeout=0) == []
    assert_demo(run(tmp_path, DEMO, pictures=True), tmp_path)


def assert_demo(finished: Finished, directory: Path) -> None:
    """Assert the promises of `make demo` on a run with fewer events."""
    assert_kept(finished, sent=6000, poisoned=10)
    circuit = finished.report["circuit"]
    assert (circuit["opened"], circuit["alerts"]) == (1, 1)
    assert circuit["started_while_open"] == 0
    assert circuit["resumed"] is True
    assert circuit["stop_seconds"] > 0.5
    (approval,) = circuit["approvals"]
    assert approval["generation"] == 1
    assert approval["app_stopped_at"], "the workflow had stopped the app before"
    events = [entry["event"] for entry in circuit["history"]]
    chain = ["stop_accepted", "approval_requested", "start_accepted"]
    assert [event for event in events if event in chain] == chain
    states = [event for event in events if event not in chain]
    assert states == ["opened", "approved", "half_opened", "closed"]
    assert finished.report["refused"] > 0
    names = {path.name for path in directory.iterdir()}
    assert names == {"report.json", "report.html", "report.png", ".stack"}
    assert list((directory / ".stack").iterdir()) == []


def test_sigterm_while_starting(tmp_path: Path) -> None:
    with running(tmp_path, LONG) as process:
        wait_for(lambda: processes_naming(tmp_path / ".stack"), "the stack's start")
        family = children_of(process.pid)
        process.terminate()
        assert process.wait(60) == 143
    assert wait_until_gone(family, timeout=0) == []
    assert processes_naming(tmp_path) == set()


@pytest.mark.long
def test_kill_9_of_the_load_test_leaves_nothing(tmp_path: Path) -> None:
    """The processes end by their lifelines."""
    with running(tmp_path, LONG) as process:
        family = in_full_swing(process)
        process.kill()
        process.wait(10)
        assert wait_until_gone(family, timeout=60) == []
    # Processes that started after the list was made have the same lifeline.
    wait_for(lambda: not processes_naming(tmp_path), "the end of everything")


@pytest.mark.long
def test_an_app_that_cannot_start_is_reported_and_the_stack_stopped(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "function_app.py").write_text("raise RuntimeError('no app today')\n")
    (app / "host.json").write_text('{"version": "2.0"}\n')
    finished = subprocess.run(
        command(tmp_path, f"--scenario steady --events 100 --no-console --app {app}"),
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 1
    assert "`local host` exited with code 1" in finished.stderr
    assert "no app today" in finished.stderr
    assert processes_naming(tmp_path) == set()
