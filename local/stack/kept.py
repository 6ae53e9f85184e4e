"""The keys, ports and partitions that `up` takes over from the run before."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from local.event_hubs.hub.storage import kept_partitions
from local.files import read_json, write_json
from local.state_directory import StateDirectory

DEFAULT_PARTITIONS = 4


class KeptDataError(Exception):
    """The data of the run before does not fit the options; the message says what does."""


@dataclass(frozen=True)
class Secrets:
    """Keys and tokens, generated for new data and used as long as the data is kept."""

    topic_key: str = field(repr=False)
    console_token: str = field(repr=False)
    event_hub_key: str = field(repr=False)

    @classmethod
    def generate(cls) -> Secrets:
        """Return random secrets; keys are in base64, as on Azure."""
        return cls(
            topic_key=_key(),
            console_token=secrets.token_urlsafe(24),
            event_hub_key=_key(),
        )


@dataclass(frozen=True)
class Kept:
    """The keys and ports of the run before; new keys and no ports for new data."""

    keys: Secrets
    ports: Mapping[str, int]

    @classmethod
    def read(cls, directory: StateDirectory) -> Self:
        """Read what the run before wrote.

        Raises:
            KeptDataError: the file does not have the form that `write` gives.
        """
        path = _path(directory)
        if not path.exists():
            return cls(Secrets.generate(), {})
        try:
            value = read_json(path) or {}
            keys = Secrets(**value["keys"])
            ports = {str(name): int(port) for name, port in value["ports"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise KeptDataError(
                f"{path} cannot be read ({type(error).__name__}: {error}); delete the data with "
                "`up --wipe`"
            ) from error
        return cls(keys, ports)

    def write(self, directory: StateDirectory) -> None:
        """Write the keys and ports for the next run."""
        write_json(_path(directory), {"keys": asdict(self.keys), "ports": dict(self.ports)})


def hub_directory(directory: StateDirectory) -> Path:
    """Return the directory with the hubs and their events."""
    return directory.data / "event-hubs"


def partitions_of(directory: StateDirectory, hub: str, wanted: int | None) -> int:
    """Return the number of partitions for a hub that may exist from the run before.

    Args:
        directory: the stack's directory.
        hub: the name of the hub.
        wanted: the requested number; None continues with the kept number, or takes 4.

    Raises:
        KeptDataError: the hub has more partitions than requested.
        DamagedFileError: the hub's record cannot be read.
    """
    kept = kept_partitions(hub_directory(directory), hub)
    if kept is not None and wanted is not None and wanted < kept:
        raise KeptDataError(
            f"--partitions {wanted}: the kept event hub {hub!r} has {kept} partitions, and a hub "
            f"cannot lose partitions; use {kept} or more, or delete the kept data with `up --wipe`"
        )
    return wanted or kept or DEFAULT_PARTITIONS


def _path(directory: StateDirectory) -> Path:
    return directory.data / "kept.json"


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()
