"""A service that crashes comes back, a few times."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import redis

from tests.integration.local_stack import service, up
from tests.processes import run_local, wait_for


def test_a_crashed_service_comes_back_with_its_data_five_times(state_directory: Path) -> None:
    """The sixth crash within a minute is its end, and reported; the others run on."""
    endpoints = up(state_directory, "--no-console")
    with redis.Redis.from_url(endpoints["redis_url"]) as client:
        client.set("key", "value")
    os.kill(service(state_directory, "redis")["pid"], signal.SIGKILL)
    for restarts in range(1, 6):
        wait_for(
            lambda: _recorded(state_directory, restarts, "running"),  # noqa: B023
            f"restart {restarts}",
        )
        now = service(state_directory, "redis")
        assert (now["restarts"], now["health"]) == (restarts, "healthy")
        with redis.Redis.from_url(endpoints["redis_url"]) as client:
            assert client.get("key") == b"value"
        os.kill(now["pid"], signal.SIGKILL)
    wait_for(lambda: _recorded(state_directory, 5, "failed"), "giving up")
    failed = service(state_directory, "redis")
    assert failed["health"] == "failed"
    assert "gave up after 5 restarts in 60 s" in failed["problem"]
    assert service(state_directory, "cloud")["health"] == "healthy"
    assert "gave up" in run_local("status", "--state-dir", state_directory).stdout
    log = (state_directory / "logs" / "supervisor.log").read_text()
    assert "redis: ended with signal SIGKILL; restart 1" in log


def _recorded(directory: Path, restarts: int, state: str) -> bool:
    """What the supervisor wrote of Redis; to be asked often, which `status` is too slow for."""
    record: dict[str, Any] = json.loads((directory / "services.json").read_text())
    entry = next(entry for entry in record["services"] if entry["name"] == "redis")
    return (entry["restarts"], entry["state"]) == (restarts, state)
