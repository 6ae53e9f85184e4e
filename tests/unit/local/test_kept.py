"""The keys, ports and partitions that a stack takes over from the run before."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.event_hubs.config import HubConfig, NamespaceConfig
from local.event_hubs.hub.namespace import Namespace
from local.event_hubs.hub.retention import Retention
from local.event_hubs.hub.storage import Storage
from local.stack.kept import Kept, KeptDataError, Secrets, hub_directory, partitions_of
from local.state_directory import StateDirectory


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path)
    directory.clear()
    return directory


def test_keys_and_ports_are_kept_until_the_data_is_wiped(directory: StateDirectory) -> None:
    first = Kept.read(directory)
    assert (first.ports, directory.has_data()) == ({}, False)
    Kept(first.keys, {"redis": 1}).write(directory)
    second = Kept.read(directory)
    assert (second.keys, second.ports) == (first.keys, {"redis": 1})
    assert directory.has_data()
    directory.wipe_data()
    directory.clear()
    assert Kept.read(directory).keys != first.keys


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"keys": {"other": ""}, "ports": {}}'])
def test_unreadable_keys_are_refused(directory: StateDirectory, content: str) -> None:
    """New keys would not fit a host that has the old ones."""
    (directory.data / "kept.json").write_text(content)
    with pytest.raises(KeptDataError, match=r"kept\.json cannot be read .*; delete the data with"):
        Kept.read(directory)


def test_keys_are_not_in_the_repr() -> None:
    keys = Secrets.generate()
    assert keys.event_hub_key not in repr(Kept(keys, {}))


def test_kept_hub_decides_the_number_of_partitions(directory: StateDirectory) -> None:
    """A hub can get more partitions, but cannot lose one."""
    assert partitions_of(directory, "events", None) == 4
    assert partitions_of(directory, "events", 2) == 2
    storage = Storage(hub_directory(directory))
    config = NamespaceConfig((HubConfig("events", 8),))
    Namespace(config, Retention(), lambda: 0, storage).close()
    assert partitions_of(directory, "Events", None) == 8
    assert partitions_of(directory, "events", 9) == 9
    with pytest.raises(KeptDataError, match=r"--partitions 4: .* has 8 partitions, .*`up --wipe`"):
        partitions_of(directory, "events", 4)
