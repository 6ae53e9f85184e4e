"""A host beside its stack: keys and addresses that changed, and settings that changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.files import write_json
from local.functions_host.stack_watch import ADDRESSES, StackChange, StackWatch
from local.services.event_hubs import event_hub_connection
from local.settings_file import app_settings, write_settings_file
from local.state_directory import StateDirectory

CONNECTION = event_hub_connection(5672, "a2V5")
OTHER_KEY = event_hub_connection(5672, "b3RoZXI=")


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path)


@pytest.fixture
def file(directory: StateDirectory) -> Path:
    file = directory.path / "local.settings.json"
    write(file)
    return file


def write(file: Path, connection: str = CONNECTION, **changes: str) -> None:
    """Write the settings as `up` does."""
    values = app_settings(
        storage="UseDevelopmentStorage=true",
        event_hub=connection,
        redis_url="redis://127.0.0.1:1",
        topic_endpoint="http://127.0.0.1:2",
        topic_key="key",
        overrides=changes,
    )
    write_settings_file(file, values)


def write_endpoints(directory: StateDirectory, connection: str) -> None:
    write_json(
        directory.endpoints_file,
        {"event_hub_connection": connection, "settings_file": "other.json"},
    )


def test_stack_that_starts_again_with_its_data_changes_nothing(
    directory: StateDirectory, file: Path
) -> None:
    watch = StackWatch(directory, file, {})
    write_endpoints(directory, CONNECTION)
    assert watch.change() is None
    directory.forget()
    assert watch.change() is None
    write(file)
    write_endpoints(directory, CONNECTION)
    assert watch.change() is None


def test_other_keys_end_the_host(directory: StateDirectory, file: Path) -> None:
    """A stack whose directory was deleted has new keys, which only a new start takes over."""
    watch = StackWatch(directory, file, {})
    write(file, OTHER_KEY)
    change = watch.change()
    assert change is not None
    assert "EventHubConnection changed" in change.problem
    assert "start the host again" in change.problem
    assert "b3RoZXI=" not in change.problem


@pytest.mark.parametrize("name", ADDRESSES)
def test_each_other_address_ends_the_host(directory: StateDirectory, file: Path, name: str) -> None:
    watch = StackWatch(directory, file, {})
    write(file, **{name: "other"})
    change = watch.change()
    assert change is not None
    assert f"{name} changed" in change.problem


def test_host_with_settings_of_an_earlier_stack_is_named_at_its_start(
    directory: StateDirectory, file: Path
) -> None:
    """Its settings, or its environment, have the address of the hub but another key."""
    write_endpoints(directory, OTHER_KEY)
    change = StackWatch(directory, file, {}).change()
    assert change is not None
    assert f"EventHubConnection in {file} is that of an earlier stack" in change.problem
    assert "the settings in other.json" in change.problem
    write(file, OTHER_KEY)
    assert StackWatch(directory, file, {}).change() is None
    change = StackWatch(directory, file, {"EventHubConnection": CONNECTION}).change()
    assert change is not None
    assert "EventHubConnection in the environment is that" in change.problem


def test_hub_at_another_address_is_not_this_stack(directory: StateDirectory, file: Path) -> None:
    """A host may run on a hub elsewhere."""
    write_endpoints(directory, event_hub_connection(5673, "b3RoZXI="))
    assert StackWatch(directory, file, {}).change() is None
    assert StackWatch(directory, None, {}).change() is None


def test_changed_settings_are_named(directory: StateDirectory, file: Path) -> None:
    """The instances read the file again at their next start; the environment comes first."""
    watch = StackWatch(directory, file, {"BREAKER_NAME": "mine"})
    write(file, BREAKER_FAILURE_THRESHOLD="7", MINE="1", BREAKER_NAME="other")
    assert watch.change() == StackChange(settings=("BREAKER_FAILURE_THRESHOLD", "MINE"))
    assert watch.change() is None
    write(file)
    assert watch.change() == StackChange(settings=("BREAKER_FAILURE_THRESHOLD", "MINE"))


def test_file_that_cannot_be_read_changes_nothing(directory: StateDirectory, file: Path) -> None:
    """A person may be writing it; the next content counts."""
    watch = StackWatch(directory, file, {})
    file.write_text('{"Values"')
    assert watch.change() is None
    file.unlink()
    assert watch.change() is None
    write(file, MINE="1")
    assert watch.change() == StackChange(settings=("MINE",))
