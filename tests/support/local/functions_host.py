"""Real host processes for tests, and the records that their functions write."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from local.services.child import REPOSITORY
from tests.support.forked import Forked
from tests.support.processes import wait_for

APPS = REPOSITORY / "tests" / "apps"


@dataclass
class HostProcess:
    """One process of `python -m local.functions_host`."""

    process: Forked
    log: Path
    hosts: Path
    url: str = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self.log.read_text()

    def wait_started(self, timeout: float = 60) -> HostProcess:
        announcement = self.hosts / f"{self.pid}.json"

        def started() -> bool:
            assert self.process.poll() is None, f"the host ended:\n{self.output()}"
            return announcement.exists() and "Host started" in self.output()

        wait_for(started, lambda: f"start of the host\n{self.output()}", timeout)
        self.url = f"http://127.0.0.1:{json.loads(announcement.read_text())['port']}"
        return self

    def terminate(self, timeout: float = 60) -> int:
        """Send SIGTERM, wait for the end, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Hosts:
    """The host processes of one test, in a directory of their own."""

    directory: Path
    settings: dict[str, str]
    running: list[HostProcess] = field(default_factory=list)

    @property
    def hosts_directory(self) -> Path:
        return self.directory / "hosts"

    def start(self, app: str | Path, *arguments: str, **settings: str) -> HostProcess:
        """Start a host without waiting; `settings` are added to the settings file's values."""
        number = len(self.running)
        file = self.directory / f"settings{number}.json"
        values = {**self.settings, **settings}
        file.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
        log = self.directory / f"host{number}.log"
        process = Forked(
            *("local.functions_host", "--app", str(APPS / app)),
            *("--settings", str(file), "--hosts", str(self.hosts_directory)),
            *("--port", "0", "--balance-interval", "0.3", "--lease", "4", *arguments),
            output=log,
            environment=clean_environment(),
        )
        host = HostProcess(process, log, self.hosts_directory)
        self.running.append(host)
        return host

    def stop_all(self) -> None:
        for host in self.running:
            host.process.kill()
            host.process.wait()


@contextlib.contextmanager
def host_processes(directory: Path, settings: dict[str, str]) -> Iterator[Hosts]:
    """Yield a starter of hosts; every host ends with the block."""
    hosts = Hosts(directory, settings)
    try:
        yield hosts
    finally:
        hosts.stop_all()


def clean_environment() -> dict[str, str]:
    """Return this environment without app settings, so that the settings file applies."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ}


@dataclass(frozen=True)
class Records:
    """The lines that an app's functions write."""

    path: Path

    def read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        lines = self.path.read_text().split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def starts(self) -> list[dict[str, Any]]:
        return [line for line in self.read() if line.get("event") == "start"]

    def ends(self) -> list[dict[str, Any]]:
        return [line for line in self.read() if line.get("event") == "end"]

    def of(self, function: str) -> list[dict[str, Any]]:
        return [line for line in self.read() if line.get("function") == function]

    def wait(self, condition: Callable[[Records], Any], what: str, timeout: float = 20) -> Any:
        return wait_for(lambda: condition(self), what, timeout)


def wait_for_status(url: str, expected: Callable[[dict[str, Any]], bool], what: str) -> Any:
    """Poll a JSON endpoint until the answer is as expected."""

    def answer() -> Any:
        found = httpx.get(url).json()
        return found if expected(found) else None

    return wait_for(answer, what)


def stays(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether `condition` stays true for `seconds`; for events that must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            return False
        time.sleep(0.05)
    return True
