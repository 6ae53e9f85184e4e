"""A host's view of its stack: whether keys, addresses or settings are still those of its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.local_settings import read_local_settings
from local.files import read_json
from local.state_directory import StateDirectory

_HUB = "EventHubConnection"
ADDRESSES = (
    *(_HUB, "AzureWebJobsStorage", "BreakwaterStorage", "REDIS_URL"),
    *("EVENT_GRID_TOPIC_ENDPOINT", "EVENT_GRID_TOPIC_KEY"),
)
"""The settings with the addresses and keys of a stack's services."""


@dataclass(frozen=True)
class StackChange:
    """A change of the stack since the host's start.

    Attributes:
        problem: why the host must end, and what to do; "" if the host can continue.
        settings: the names of the settings that changed; the instances need a restart.
    """

    problem: str = ""
    settings: tuple[str, ...] = ()


class StackWatch:
    """The comparison of a host's settings with its stack; a call reads only files that changed.

    Args:
        directory: the stack's directory.
        file: the settings file of the instances; None if they have only the environment.
        environment: the variables of the instances, which come before the file's settings.
    """

    def __init__(
        self, directory: StateDirectory, file: Path | None, environment: Mapping[str, str]
    ) -> None:
        self._endpoints = _WatchedFile(directory.endpoints_file)
        self._directory = directory
        self._settings = None if file is None else _WatchedFile(file)
        self._environment = environment
        self._values = self._read() or {}

    def change(self) -> StackChange | None:
        """Return what changed since the last call; None without a change."""
        change = None
        if self._settings is not None and self._settings.has_changed():
            change = self._compare_settings(self._settings.path)
        if (change is None or not change.problem) and self._endpoints.has_changed():
            return self._compare_keys() or change
        return change

    def _read(self) -> dict[str, str] | None:
        """Return the settings as the instances read them; None while the file cannot be used."""
        if self._settings is None:
            return dict(self._environment)
        self._settings.has_changed()
        try:
            values = read_local_settings(self._settings.path, values_required=False)
        except ConfigurationError:
            return None
        return {**values, **{name: text for name, text in self._environment.items() if text}}

    def _compare_settings(self, path: Path) -> StackChange | None:
        values = self._read()
        if values is None:  # a person may be writing the file
            return None
        before, self._values = self._values, values
        names = sorted(
            name
            for name in before.keys() | values.keys()
            if before.get(name, "") != values.get(name, "")
        )
        if moved := [name for name in ADDRESSES if name in names]:
            return StackChange(
                f"the stack in {self._directory.path} was started with other keys or addresses "
                f"than this host has ({', '.join(moved)} changed in {path}); start the host again"
            )
        return StackChange(settings=tuple(names)) if names else None

    def _compare_keys(self) -> StackChange | None:
        """Return a problem if the hub has this host's address, but another key."""
        stack = _fields((read_json(self._endpoints.path) or {}).get("event_hub_connection"))
        own = _fields(self._values.get(_HUB))
        names = ("Endpoint", "SharedAccessKey")
        address, key = (stack.get(name) == own.get(name) for name in names)
        if not stack or not address or key:
            return None
        source = "the environment" if self._environment.get(_HUB) else str(self._settings_path)
        return StackChange(
            f"the stack in {self._directory.path} has other keys than this host: {_HUB} in "
            f"{source} is that of an earlier stack; start the host with the settings in "
            f"{self._stack_settings()}"
        )

    @property
    def _settings_path(self) -> Path | None:
        return None if self._settings is None else self._settings.path

    def _stack_settings(self) -> str:
        return str((read_json(self._endpoints.path) or {}).get("settings_file"))


class _WatchedFile:
    """A file that is replaced as a whole when its content changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] | None = None

    def has_changed(self) -> bool:
        """Return whether the file is another than at the last call; a missing file has not."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        now = (status.st_ino, status.st_mtime_ns, status.st_size)
        changed, self._seen = now != self._seen, now
        return changed


def _fields(connection: Any) -> dict[str, str]:
    parts = (part.partition("=") for part in str(connection or "").split(";"))
    return {name: value for name, _, value in parts if name}
