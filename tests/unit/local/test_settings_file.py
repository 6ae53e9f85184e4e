"""local.settings.json: the form, the permissions, atomic writes, the user's own file."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from local.files import read_json, write_atomically, write_json
from local.services.child import REPOSITORY
from local.settings_file import SettingError, app_settings, parse_settings, write_settings_file

VALUES = app_settings(
    storage="UseDevelopmentStorage=true",
    event_hub="Endpoint=sb://127.0.0.1:5672;UseDevelopmentEmulator=true;",
    redis_url="redis://127.0.0.1:16379/0",
    topic_endpoint="http://127.0.0.1:7080/topics/breakwater/api/events",
    topic_key="secret",
)


def test_settings_file_has_core_tools_form_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    assert write_settings_file(path, VALUES) is None
    assert json.loads(path.read_text()) == {"IsEncrypted": False, "Values": VALUES}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_committed_example_has_the_same_names() -> None:
    example = json.loads((REPOSITORY / "local.settings.example.json").read_text())
    assert example["IsEncrypted"] is False
    assert set(VALUES) <= set(example["Values"]), "tests of the README check the app's settings"
    assert all(isinstance(value, str) for value in example["Values"].values())


def test_overrides_win_and_may_add() -> None:
    values = app_settings(
        storage="",
        event_hub="",
        redis_url="",
        topic_endpoint="",
        topic_key="",
        overrides={"BREAKER_FAILURE_THRESHOLD": "7", "EXTRA": "1"},
    )
    assert values["BREAKER_FAILURE_THRESHOLD"] == "7"
    assert values["EXTRA"] == "1"


def test_an_own_settings_file_is_kept_and_a_generated_one_replaced(tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    own = '{"Values": {"EventHubConnection": "Endpoint=sb://real.servicebus.windows.net/"}}'
    path.write_text(own)
    backup = write_settings_file(path, VALUES)
    assert backup is not None
    assert backup.read_text() == own
    assert write_settings_file(path, VALUES) is None


def test_assignments_are_read_with_equals_signs_in_the_value() -> None:
    assert parse_settings(["A=1", "B=x=y", "C=", "A=2"]) == {"A": "2", "B": "x=y", "C": ""}


@pytest.mark.parametrize("assignment", ["A", "=1", "1A=2", "A B=1"])
def test_an_invalid_assignment_is_rejected(assignment: str) -> None:
    with pytest.raises(SettingError, match="NAME=VALUE"):
        parse_settings([assignment])


def test_a_failed_write_leaves_only_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\udcff")
    assert read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize("text", [None, "", "{", "[1]"])
def test_a_missing_or_foreign_record_reads_as_none(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "record.json"
    if text is not None:
        path.write_text(text)
    assert read_json(path) is None
