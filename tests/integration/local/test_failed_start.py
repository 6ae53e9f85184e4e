"""A failed or interrupted start, which names its reason and leaves no process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from local.services.child import REPOSITORY
from tests.support.local.stack import HeldRedis, recorded, starting, status
from tests.support.processes import local_command, run_local, wait_until_gone


def test_a_taken_port_is_named_and_nothing_is_left(state_directory: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        result = run_local(
            *("up", "--ephemeral-ports", "--port-cloud", str(port), "--state-dir", state_directory)
        )
    assert result.returncode == 1
    assert f"port {port} for cloud is taken" in result.stdout
    assert "--port-cloud" in result.stdout
    assert not (state_directory / "endpoints.json").exists()
    assert status(state_directory)["services"] == []


def test_a_service_that_does_not_start_is_shown_with_its_log(
    state_directory: Path, tmp_path: Path
) -> None:
    """The other services are stopped."""
    broken = tmp_path / "bin"
    broken.mkdir()
    server = broken / "redis-server"
    server.write_text("#!/bin/sh\necho no memory today >&2\nexit 7\n")
    server.chmod(0o755)
    command = local_command("up", "--ephemeral-ports", "--state-dir", state_directory)
    environment = os.environ | {"PATH": f"{broken}:{os.environ['PATH']}"}
    result = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "redis ended with exit code 7" in result.stdout
    assert "no memory today" in result.stdout
    assert status(state_directory)["services"] == []


def test_a_missing_program_is_named(state_directory: Path) -> None:
    command = local_command("up", "--ephemeral-ports", "--state-dir", state_directory)
    environment = {**os.environ, "PATH": str(state_directory)}
    result = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "no Node.js on PATH" in result.stdout


def test_down_ends_a_stack_that_is_still_starting(state_directory: Path, tmp_path: Path) -> None:
    with starting(state_directory, "--no-console", redis=HeldRedis(tmp_path)) as process:
        processes = recorded(state_directory)
        assert run_local("down", "--state-dir", state_directory).returncode == 0
        assert wait_until_gone(processes, timeout=0) == []
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "stopped before every service was healthy" in output


def test_a_state_directory_that_cannot_be_created_is_named() -> None:
    result = run_local("up", "--ephemeral-ports", "--state-dir", "/proc/nowhere")
    assert result.returncode == 1
    assert "/proc/nowhere" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "numbers", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP, signal.SIGTERM]]
)
def test_interrupted_up_leaves_no_process(
    state_directory: Path, tmp_path: Path, numbers: list[signal.Signals]
) -> None:
    """A second signal, as `timeout` sends it, does not interrupt the stop of the first one."""
    with starting(state_directory, "--no-console", redis=HeldRedis(tmp_path)) as process:
        processes = recorded(state_directory)
        for number in numbers:
            process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130, output
        assert "Traceback" not in output
        assert wait_until_gone(processes) == []
    assert not (state_directory / "endpoints.json").exists()


def test_supervisor_of_a_killed_up_stops(state_directory: Path, tmp_path: Path) -> None:
    """The supervisor detects the killed command when every service is healthy."""
    redis = HeldRedis(tmp_path)
    with starting(state_directory, "--no-console", redis=redis) as process:
        processes = recorded(state_directory)
        process.kill()
        process.wait()
        redis.release()
        assert wait_until_gone(processes) == []
