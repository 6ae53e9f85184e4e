"""The configured event hubs, read from the config.json format of Microsoft's emulator.

{"UserConfig": {"NamespaceConfig": [{"Type": "EventHub", "Name": "emulatorNs1", "Entities": [
    {"Name": "events", "PartitionCount": 4, "ConsumerGroups": [{"Name": "cg1"}]}]}]}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_GROUP = "$Default"
MAX_PARTITIONS = 1024

_HUB_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,254}[A-Za-z0-9])?")
_GROUP_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,48}[A-Za-z0-9])?|\$[Dd]efault")


class ConfigError(ValueError):
    """An invalid configuration; the message names the place, the value and the valid values."""


@dataclass(frozen=True, slots=True)
class HubConfig:
    """One event hub. The consumer group `$Default` always exists."""

    name: str
    partitions: int
    consumer_groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _HUB_NAME.fullmatch(self.name):
            raise ConfigError(
                f"event hub name {self.name!r} is invalid: a name has 1 to 256 letters, digits, "
                "'.', '-' and '_', and begins and ends with a letter or digit"
            )
        if not 1 <= self.partitions <= MAX_PARTITIONS:
            raise ConfigError(
                f"PartitionCount of event hub {self.name!r} must be 1 to {MAX_PARTITIONS}, "
                f"got {self.partitions}"
            )
        for group in self.consumer_groups:
            if not _GROUP_NAME.fullmatch(group):
                raise ConfigError(
                    f"consumer group name {group!r} of event hub {self.name!r} is invalid: a name "
                    "has 1 to 50 letters, digits, '.', '-' and '_', and begins and ends with a "
                    "letter or digit"
                )


@dataclass(frozen=True, slots=True)
class NamespaceConfig:
    """One namespace with its event hubs.

    Attributes:
        hubs: the hubs that exist from the start.
        name: name of the namespace.
        create_partitions: number of partitions of a hub that is created when a client first uses
            the hub; missing consumer groups are also created. 0 means that missing hubs and groups
            are not created.
    """

    hubs: tuple[HubConfig, ...]
    name: str = "emulatorNs1"
    create_partitions: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.create_partitions <= MAX_PARTITIONS:
            raise ConfigError(
                "the number of partitions of hubs that are created on first use must be 0 to "
                f"{MAX_PARTITIONS}, got {self.create_partitions}"
            )
        seen: set[str] = set()
        for hub in self.hubs:
            if hub.name.lower() in seen:
                raise ConfigError(f"event hub {hub.name!r} is configured twice")
            seen.add(hub.name.lower())

    @classmethod
    def single(
        cls, hub: str, partitions: int = 4, consumer_groups: Sequence[str] = ()
    ) -> NamespaceConfig:
        """Return a namespace with one event hub."""
        return cls((HubConfig(hub, partitions, tuple(consumer_groups)),))

    @classmethod
    def from_file(cls, path: Path) -> NamespaceConfig:
        """Read a config.json file.

        Raises:
            ConfigError: the file is missing, is not JSON or has invalid content.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"{path} is not JSON: {error}") from error
        return cls.from_document(document)

    @classmethod
    def from_document(cls, document: object) -> NamespaceConfig:
        """Build the configuration from a parsed config.json.

        Raises:
            ConfigError: the content is invalid.
        """
        user = _required(_mapping(document, "config"), "UserConfig", "config")
        namespaces = _list(_mapping(user, "UserConfig"), "NamespaceConfig", "UserConfig")
        if len(namespaces) != 1:
            raise ConfigError(
                f"UserConfig.NamespaceConfig must list one namespace, got {len(namespaces)}"
            )
        where = "UserConfig.NamespaceConfig[0]"
        namespace = _mapping(namespaces[0], where)
        kind = namespace.get("Type", "EventHub")
        if str(kind).lower() != "eventhub":
            raise ConfigError(f"{where}.Type must be EventHub, got {kind!r}")
        hubs = tuple(
            _hub(_mapping(entity, f"{where}.Entities[{index}]"), f"{where}.Entities[{index}]")
            for index, entity in enumerate(_list(namespace, "Entities", where))
        )
        return cls(hubs, str(namespace.get("Name", "emulatorNs1")))


def _hub(entity: Mapping[str, Any], where: str) -> HubConfig:
    count = entity.get("PartitionCount", 1)
    try:
        partitions = int(count)
    except (TypeError, ValueError):
        raise ConfigError(f"{where}.PartitionCount must be a whole number, got {count!r}") from None
    groups = entity.get("ConsumerGroups") or []
    if not isinstance(groups, list):
        raise ConfigError(f"{where}.ConsumerGroups must be a list, got {groups!r}")
    return HubConfig(
        str(_required(entity, "Name", where)),
        partitions,
        tuple(
            str(_required(_mapping(group, f"{where}.ConsumerGroups[{index}]"), "Name", where))
            for index, group in enumerate(groups)
        ),
    )


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be an object, got {value!r}")
    return value


def _required(mapping: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in mapping:
        raise ConfigError(f"{name} is missing in {where}")
    return mapping[name]


def _list(mapping: Mapping[str, Any], name: str, where: str) -> list[Any]:
    value = _required(mapping, name, where)
    if not isinstance(value, list):
        raise ConfigError(f"{where}.{name} must be a list, got {value!r}")
    return value
