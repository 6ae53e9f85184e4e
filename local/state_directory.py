"""Where one stack keeps its records, logs and data, and the lock that makes it one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.files import read_json, write_json
from local.services.process import ProcessIdentity

DEFAULT_STATE_DIR = Path(".local")


class AlreadyUpError(Exception):
    """Another supervisor holds this state directory."""


@dataclass(frozen=True)
class StateDirectory:
    """Paths below `path` (absolute). Only what is named here is ever deleted."""

    path: Path

    @property
    def endpoints_file(self) -> Path:
        """Where everything is; present while the stack is up and healthy."""
        return self.path / "endpoints.json"

    @property
    def services_file(self) -> Path:
        """Supervisor and children with process ids and start times."""
        return self.path / "services.json"

    @property
    def logs(self) -> Path:
        """One log for each service, and the supervisor's own."""
        return self.path / "logs"

    @property
    def supervisor_log(self) -> Path:
        """The detached supervisor's output."""
        return self.logs / "supervisor.log"

    @property
    def data(self) -> Path:
        """Data of Redis, Azurite and the workflow, and private configuration."""
        return self.path / "data"

    @property
    def hosts(self) -> Path:
        """One file for each live function host instance; written by the instances."""
        return self.path / "hosts"

    @contextlib.contextmanager
    def lock(self, *, attempts: int = 1) -> Iterator[None]:
        """Hold the directory; the kernel lets go when the process dies, however it dies.

        Args:
            attempts: tries, 50 ms apart: `is_locked` of another process holds it for a moment.

        Raises:
            AlreadyUpError: somebody else holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not _try_lock(descriptor):
                attempts -= 1
                if attempts <= 0:
                    raise AlreadyUpError(f"the stack in {self.path} is already up")
                time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """True while a supervisor runs on this directory."""
        if not self.path.is_dir():
            return False
        try:
            with self.lock():
                return False
        except AlreadyUpError:
            return True

    def wipe(self) -> None:
        """Forget the last run: a stack starts fresh."""
        shutil.rmtree(self.data, ignore_errors=True)
        for log in self.logs.glob("*.log"):
            if log == self.supervisor_log:  # open: it is the standard error of whoever calls this
                os.truncate(log, 0)
            else:
                log.unlink()
        for file in (self.endpoints_file, self.services_file, self.path / "site.json"):
            file.unlink(missing_ok=True)
        for record in self.hosts.glob("*.json"):
            if not _is_live(record):
                record.unlink(missing_ok=True)
        for folder in (self.logs, self.data):
            folder.mkdir(parents=True, mode=0o700, exist_ok=True)

    def live_hosts(self) -> list[int]:
        """Process ids of the function host instances that use this stack."""
        return sorted(int(record.stem) for record in self.hosts.glob("*.json") if _is_live(record))

    def endpoints(self) -> dict[str, Any] | None:
        """What `endpoints.json` says; None when the stack is not up."""
        return read_json(self.endpoints_file)

    def record(self, supervisor: ProcessIdentity, services: list[dict[str, Any]]) -> None:
        """Write who runs; read back by `recorded`."""
        owner = {"pid": supervisor.pid, "created": supervisor.created}
        write_json(self.services_file, {"supervisor": owner, "services": services})

    def recorded(self) -> tuple[ProcessIdentity | None, list[dict[str, Any]]]:
        """The supervisor and the services of the last run; nothing when there is no record."""
        record = read_json(self.services_file) or {}
        services = record.get("services")
        return (
            ProcessIdentity.from_record(record.get("supervisor")),
            services if isinstance(services, list) else [],
        )

    def forget(self) -> None:
        """Remove the records of a stack that has ended; logs and data stay for a look."""
        self.endpoints_file.unlink(missing_ok=True)
        self.services_file.unlink(missing_ok=True)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_live(record: Path) -> bool:
    """Whether its writer runs: a killed host's id may be somebody else's by now."""
    try:
        process = ProcessIdentity.of(int(record.stem))
        written = record.stat().st_mtime
    except (ValueError, OverflowError, OSError):
        return False
    return process.created <= written + 1 and process.alive()
