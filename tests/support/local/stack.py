"""The stack's command line for tests: up, status and the started processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from local.services.child import REPOSITORY
from local.services.redis import find_redis_server
from tests.support.processes import local_command, run_local, wait_for

SERVICES = {"azurite", "redis", "console", "event-hubs", "cloud"}


def up(directory: Path, *arguments: str) -> dict[str, Any]:
    """Run `up` in the background on free ports and return the endpoints."""
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


def wait_for_health(directory: Path, name: str, health: str) -> dict[str, Any]:
    """Poll until the service has this health, and return its entry in `status`."""
    found: dict[str, Any] = wait_for(
        lambda: (now := service(directory, name))["health"] == health and now, f"{name} {health}"
    )
    return found


class HeldRedis:
    """A Redis server that starts only after `release`, so that a start of the stack waits."""

    def __init__(self, directory: Path) -> None:
        self.server = directory / "held-redis"
        self._gate = directory / "gate"
        os.mkfifo(self._gate)
        self.server.write_text(
            f'#!/bin/sh\nread _ < "{self._gate}"\nexec "{find_redis_server()}" "$@"\n'
        )
        self.server.chmod(0o700)

    def release(self) -> None:
        """Let the waiting server start."""
        self._gate.write_text("\n")


@contextlib.contextmanager
def starting(
    directory: Path, *arguments: str, redis: HeldRedis | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run an `up` whose children may not be healthy yet.

    Until `redis` is released, the start does not complete, so a test can act during the start.
    """
    command = local_command("up", "--ephemeral-ports", "--state-dir", directory, *arguments)
    environment = os.environ | ({"REDIS_SERVER": str(redis.server)} if redis else {})
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def recorded(directory: Path) -> list[psutil.Process]:
    """Wait for children in the record; return the supervisor and its descendants."""

    def read() -> list[psutil.Process]:
        with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
            record = json.loads((directory / "services.json").read_text())
            if any(entry["pid"] for entry in record["services"]):
                supervisor = psutil.Process(record["supervisor"]["pid"])
                return [supervisor, *supervisor.children(recursive=True)]
        return []

    processes: list[psutil.Process] = wait_for(read, "the start of the children")
    return processes
