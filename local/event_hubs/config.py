"""What hubs there are: the config.json of Microsoft's emulator.

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
    """The configuration cannot be used; the message says where, what it got and what it takes."""


@dataclass(frozen=True, slots=True)
class HubConfig:
    """One event hub. The consumer group `$Default` is always there."""

    name: str
    partitions: int
    consumer_groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _HUB_NAME.fullmatch(self.name):
            raise ConfigError(
                f"event hub name {self.name!r}: takes letters, digits, '.', '-' and '_', "
                "beginning and ending with a letter or digit, at most 256"
            )
        if not 1 <= self.partitions <= MAX_PARTITIONS:
            raise ConfigError(
                f"PartitionCount of event hub {self.name!r}: takes 1 to {MAX_PARTITIONS}, "
                f"got {self.partitions}"
            )
        for group in self.consumer_groups:
            if not _GROUP_NAME.fullmatch(group):
                raise ConfigError(
                    f"consumer group {group!r} of event hub {self.name!r}: takes letters, digits, "
                    "'.', '-' and '_', beginning and ending with a letter or digit, at most 50"
                )


@dataclass(frozen=True, slots=True)
class NamespaceConfig:
    """One namespace with its event hubs.

    Attributes:
        hubs: those that are there from the start.
        name: the namespace's.
        create_partitions: the partitions of a hub that a client names and that is not there; it
            is created then, and so are consumer groups. 0: what is not there is not found.
    """

    hubs: tuple[HubConfig, ...]
    name: str = "emulatorNs1"
    create_partitions: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.create_partitions <= MAX_PARTITIONS:
            raise ConfigError(
                f"partitions of hubs that are created on first use: takes 0 to {MAX_PARTITIONS}, "
                f"got {self.create_partitions}"
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
        """A namespace with one event hub."""
        return cls((HubConfig(hub, partitions, tuple(consumer_groups)),))

    @classmethod
    def from_file(cls, path: Path) -> NamespaceConfig:
        """Read a config.json.

        Raises:
            ConfigError: there is no such file, it is no JSON, or its content is wrong.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"{path} is no JSON: {error}") from error
        return cls.from_document(document)

    @classmethod
    def from_document(cls, document: object) -> NamespaceConfig:
        """Build from a parsed config.json.

        Raises:
            ConfigError: its content is wrong.
        """
        user = _required(_mapping(document, "config"), "UserConfig", "config")
        namespaces = _list(_mapping(user, "UserConfig"), "NamespaceConfig", "UserConfig")
        if len(namespaces) != 1:
            raise ConfigError(f"UserConfig.NamespaceConfig: takes one, got {len(namespaces)}")
        where = "UserConfig.NamespaceConfig[0]"
        namespace = _mapping(namespaces[0], where)
        kind = namespace.get("Type", "EventHub")
        if str(kind).lower() != "eventhub":
            raise ConfigError(f"{where}.Type: takes EventHub, got {kind!r}")
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
        raise ConfigError(f"{where}.PartitionCount: takes a whole number, got {count!r}") from None
    groups = entity.get("ConsumerGroups") or []
    if not isinstance(groups, list):
        raise ConfigError(f"{where}.ConsumerGroups: takes a list, got {groups!r}")
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
        raise ConfigError(f"{where}: takes an object, got {value!r}")
    return value


def _required(mapping: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in mapping:
        raise ConfigError(f"{where}: {name} is missing")
    return mapping[name]


def _list(mapping: Mapping[str, Any], name: str, where: str) -> list[Any]:
    value = _required(mapping, name, where)
    if not isinstance(value, list):
        raise ConfigError(f"{where}.{name}: takes a list, got {value!r}")
    return value
