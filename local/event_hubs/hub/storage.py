"""The directory with the hubs of an endpoint: one folder for each hub, with its partitions."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from local.event_hubs.config import HubConfig
from local.event_hubs.hub.partition_files import DamagedFileError, PartitionFiles
from local.files import write_json

_RECORD = "hub.json"
_NAME_BYTES = 200


class DirectoryInUseError(ValueError):
    """Another endpoint uses the directory."""


@dataclass(frozen=True, slots=True)
class HubRecord:
    """The properties of a hub that its events do not show.

    Attributes:
        name: the name as it was given when the hub was created.
        created_ms: the time of the creation, in ms since 1970.
        partitions: the number of partitions.
        groups: the consumer groups in lower case.
        retention_seconds: the maximum age of an event, if it was changed at run time, else None.
    """

    name: str
    created_ms: int
    partitions: int
    groups: tuple[str, ...]
    retention_seconds: float | None = None

    @property
    def config(self) -> HubConfig:
        """The hub's configuration, without consumer groups."""
        return HubConfig(self.name, self.partitions)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the record in a file; None without the file.

        Raises:
            DamagedFileError: the file does not have the form that `write` gives.
        """
        try:
            value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            record = cls(**{**value, "groups": tuple(value["groups"])})
            HubConfig(record.name, record.partitions)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedFileError(
                f"the kept hub cannot be read: {path}: {error}; restore the file, or delete the "
                "events"
            ) from error
        return record


class HubFiles:
    """The folder of one hub."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self) -> HubRecord | None:
        """Return the record of the hub; None before `write`."""
        return HubRecord.read(self._directory / _RECORD)

    def write(self, record: HubRecord) -> None:
        """Replace the record."""
        write_json(self._directory / _RECORD, asdict(record))

    def partition(self, index: int) -> PartitionFiles:
        """Return the files of one partition."""
        return PartitionFiles(self._directory / f"{index:04}")

    def delete(self) -> None:
        """Delete the hub with its events; without its record a rest of the folder has no effect."""
        (self._directory / _RECORD).unlink(missing_ok=True)
        shutil.rmtree(self._directory, ignore_errors=True)


class Storage:
    """The hubs on disk, which one endpoint at a time uses.

    Args:
        directory: the directory, which is created if it does not exist.

    Raises:
        DirectoryInUseError: another endpoint uses the directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (directory / "lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise DirectoryInUseError(
                f"another Event Hubs endpoint uses {directory}; give each endpoint a directory of "
                "its own"
            ) from None

    def hubs(self) -> Iterator[tuple[HubFiles, HubRecord]]:
        """Yield the hubs that exist; delete what a deletion has left."""
        for path in sorted(self._directory.iterdir()):
            if path.is_dir():
                files = HubFiles(path)
                if (record := files.read()) is None:
                    files.delete()
                else:
                    yield files, record

    def hub(self, name: str) -> HubFiles:
        """Return the folder of a hub; names ignore case."""
        return HubFiles(self._directory / _folder(name))

    def close(self) -> None:
        """Let another endpoint use the directory."""
        self._lock.close()


def kept_partitions(directory: Path, name: str) -> int | None:
    """Return the number of partitions of a hub on disk; None without the hub.

    Raises:
        DamagedFileError: the hub's record cannot be read.
    """
    record = HubFiles(directory / _folder(name)).read()
    return None if record is None else record.partitions


def _folder(name: str) -> str:
    """Return the name of a hub's folder; a file system takes fewer characters than a hub's name."""
    lower = name.lower()
    if len(lower) <= _NAME_BYTES:
        return lower
    return f"{lower[:_NAME_BYTES]}~{hashlib.sha256(lower.encode()).hexdigest()[:16]}"
