"""The directory with one stack's records, logs and data, and the lock against a second stack."""

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
    """Another supervisor holds the lock of the state directory."""


@dataclass(frozen=True)
class StateDirectory:
    """The paths below `path` (absolute). Only the files named here are ever deleted."""

    path: Path

    @property
    def endpoints_file(self) -> Path:
        """The file with all addresses; it exists while the stack is up and healthy."""
        return self.path / "endpoints.json"

    @property
    def services_file(self) -> Path:
        """The file with the process ids and start times of supervisor and children."""
        return self.path / "services.json"

    @property
    def options_file(self) -> Path:
        """The file with the options and settings of the stack that is up."""
        return self.path / "options.json"

    @property
    def logs(self) -> Path:
        """The directory with one log for each service and one for the supervisor."""
        return self.path / "logs"

    @property
    def supervisor_log(self) -> Path:
        """The file with the output of the detached supervisor."""
        return self.logs / "supervisor.log"

    @property
    def data(self) -> Path:
        """The directory for keys, and data of Redis, Azurite, the hub and the workflow."""
        return self.path / "data"

    @property
    def hosts(self) -> Path:
        """The directory with one file for each live function host instance, which writes it."""
        return self.path / "hosts"

    @contextlib.contextmanager
    def lock(self, *, attempts: int = 1) -> Iterator[None]:
        """Lock the directory; the kernel releases the lock when the process ends for any reason.

        Args:
            attempts: the number of attempts, 50 ms apart. `is_locked` of another process holds the
                lock for a moment, so one attempt may fail.

        Raises:
            AlreadyUpError: another process holds the lock.
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
        """Return whether a supervisor runs on this directory."""
        if not self.path.is_dir():
            return False
        try:
            with self.lock():
                return False
        except AlreadyUpError:
            return True

    def wipe(self) -> None:
        """Delete the data, logs and records of the last run."""
        self.wipe_data()
        self.clear()

    def wipe_data(self) -> None:
        """Delete the data that `up` would continue with, and the wanted state of the app."""
        shutil.rmtree(self.data, ignore_errors=True)
        (self.path / "site.json").unlink(missing_ok=True)

    def has_data(self) -> bool:
        """Return whether `up` would continue with the data of an earlier run."""
        return self.data.is_dir() and any(self.data.iterdir())

    def clear(self) -> None:
        """Delete the logs and records of the last run; keep its data."""
        for log in self.logs.glob("*.log"):
            if log == self.supervisor_log:  # still open as the standard error of this process
                os.truncate(log, 0)
            else:
                log.unlink()
        for file in (self.endpoints_file, self.services_file, self.options_file):
            file.unlink(missing_ok=True)
        for record in self.hosts.glob("*.json"):
            if not _is_live(record):
                record.unlink(missing_ok=True)
        for folder in (self.logs, self.data):
            folder.mkdir(parents=True, mode=0o700, exist_ok=True)

    def live_hosts(self) -> list[int]:
        """Return the process ids of the function host instances that use this stack."""
        return sorted(int(record.stem) for record in self.hosts.glob("*.json") if _is_live(record))

    def endpoints(self) -> dict[str, Any] | None:
        """Return the content of `endpoints.json`; None when the stack is not up."""
        return read_json(self.endpoints_file)

    def record(self, supervisor: ProcessIdentity, services: list[dict[str, Any]]) -> None:
        """Write the running processes to the services file; `recorded` reads the file."""
        owner = {"pid": supervisor.pid, "created": supervisor.created}
        write_json(self.services_file, {"supervisor": owner, "services": services})

    def recorded(self) -> tuple[ProcessIdentity | None, list[dict[str, Any]]]:
        """Return the supervisor and the services of the last run; (None, []) without a record."""
        record = read_json(self.services_file) or {}
        services = record.get("services")
        return (
            ProcessIdentity.from_record(record.get("supervisor")),
            services if isinstance(services, list) else [],
        )

    def forget(self) -> None:
        """Remove the records of a stack that has ended; logs and data stay for inspection."""
        self.endpoints_file.unlink(missing_ok=True)
        self.services_file.unlink(missing_ok=True)
        self.options_file.unlink(missing_ok=True)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_live(record: Path) -> bool:
    """Return whether the host that wrote the record runs; its id may belong to a new process."""
    try:
        process = ProcessIdentity.of(int(record.stem))
        written = record.stat().st_mtime
    except (ValueError, OverflowError, OSError):
        return False
    return process.created <= written + 1 and process.alive()
