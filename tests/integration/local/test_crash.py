"""Restarts of a crashed service, up to the limit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.local.stack import service, up, wait_for_health
from tests.support.processes import run_local, wait_for


@pytest.mark.long
def test_a_crashed_service_is_restarted_with_its_data_five_times(state_directory: Path) -> None:
    """After the sixth crash within a minute the service is failed; the others keep running."""
    endpoints = up(state_directory, "--no-console")
    with redis.Redis.from_url(endpoints["redis_url"]) as client:
        client.set("key", "value")
    pid = service(state_directory, "redis")["pid"]
    for restarts in range(1, 6):
        os.kill(pid, signal.SIGKILL)
        # Read the record, because `status` is slow and all crashes must fall into one minute.
        pid = wait_for(
            lambda: _recorded(state_directory, restarts, "running"),  # noqa: B023
            f"restart {restarts}",
        )["pid"]
        with redis.Redis.from_url(endpoints["redis_url"]) as client:
            assert client.get("key") == b"value"
    now = wait_for_health(state_directory, "redis", "healthy")
    assert (now["pid"], now["restarts"]) == (pid, 5)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: _recorded(state_directory, 5, "failed"), "giving up")
    failed = service(state_directory, "redis")
    assert failed["health"] == "failed"
    assert "gave up after 5 restarts in 60 s" in failed["problem"]
    wait_for_health(state_directory, "cloud", "healthy")
    assert "gave up" in run_local("status", "--state-dir", state_directory).stdout
    log = (state_directory / "logs" / "supervisor.log").read_text()
    assert "redis: ended with signal SIGKILL; restart 1" in log


def _recorded(directory: Path, restarts: int, state: str) -> dict[str, Any] | None:
    """Return the record of Redis if it has this state and restart count, else None."""
    record: dict[str, Any] = json.loads((directory / "services.json").read_text())
    entry: dict[str, Any] = next(e for e in record["services"] if e["name"] == "redis")
    return entry if (entry["restarts"], entry["state"]) == (restarts, state) else None
