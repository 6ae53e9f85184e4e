"""A service that crashes comes back, a few times."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import redis

from tests.integration.local_stack import (
    service,
    up,
)
from tests.processes import (
    run_local,
    wait_for,
)


def test_a_crashed_service_comes_back_with_its_data(state_directory: Path) -> None:
    endpoints = up(state_directory, "--no-console")
    before = service(state_directory, "redis")
    with redis.Redis.from_url(endpoints["redis_url"]) as client:
        client.set("key", "value")
    os.kill(before["pid"], signal.SIGKILL)
    after = wait_for(
        lambda: (
            (now := service(state_directory, "redis"))["restarts"] == 1
            and now["health"] == "healthy"
            and now
        ),
        "the restart of redis",
    )
    assert after["pid"] != before["pid"]
    with redis.Redis.from_url(endpoints["redis_url"]) as client:
        assert client.get("key") == b"value"
    log = (state_directory / "logs" / "supervisor.log").read_text()
    assert "redis: ended with signal SIGKILL; restart 1" in log


def test_restarts_are_bounded_and_the_end_of_them_is_reported(state_directory: Path) -> None:
    up(state_directory, "--no-console")
    for restarts in range(6):
        pid = wait_for(
            lambda: (
                (now := service(state_directory, "redis"))["restarts"] == restarts  # noqa: B023
                and now["health"] == "healthy"
                and now["pid"]
            ),
            f"restart {restarts}",
        )
        os.kill(pid, signal.SIGKILL)
    failed = wait_for(
        lambda: (now := service(state_directory, "redis"))["health"] == "failed" and now,
        "giving up",
    )
    assert "gave up after 5 restarts in 60 s" in failed["problem"]
    assert service(state_directory, "cloud")["health"] == "healthy"
    assert "gave up" in run_local("status", "--state-dir", state_directory).stdout
