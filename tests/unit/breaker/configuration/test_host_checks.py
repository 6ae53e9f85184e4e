"""Options of host.json with which an app would lose events are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from breaker.configuration.errors import HostJsonError
from breaker.configuration.host_checks import check_host_json, delivery_problems
from breaker.configuration.host_json import read_host_json

ROOT = Path(__file__).parents[4]
FREQUENCY = "AzureFunctionsJobHost__extensions__eventHubs__batchCheckpointFrequency"
BUNDLE = "AzureFunctionsJobHost__extensionBundle__version"


def folder(directory: Path, **options: Any) -> dict[str, str]:
    """Write a host.json and return the app settings that name its folder."""
    (directory / "host.json").write_text(json.dumps({"version": "2.0", **options}))
    return {"AzureWebJobsScriptRoot": str(directory)}


def frequency(number: int) -> dict[str, Any]:
    return {"eventHubs": {"batchCheckpointFrequency": number}}


def bundle(version: str) -> dict[str, str]:
    return {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": version}


def test_every_host_json_of_an_app_of_this_repository_is_accepted() -> None:
    files = [ROOT / "host.json", *(ROOT / "tests").glob("**/host.json")]
    assert len(files) > 5
    for file in files:
        if file.parent.name != "broken_binding":
            assert list(delivery_problems(read_host_json(file), file.name)) == []


def test_missing_file_and_missing_options_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_host_json({"AzureWebJobsScriptRoot": str(tmp_path)})
    check_host_json(folder(tmp_path))
    monkeypatch.chdir(tmp_path)
    check_host_json({})


@pytest.mark.parametrize("number", [2, 10])
def test_checkpoint_after_several_batches_is_refused(tmp_path: Path, number: int) -> None:
    check_host_json(folder(tmp_path, extensions=frequency(1)))
    settings = folder(tmp_path, extensions=frequency(number))
    says = rf"^host\.json: extensions\.eventHubs\.batchCheckpointFrequency is {number}; it takes 1,"
    with pytest.raises(HostJsonError, match=says):
        check_host_json(settings)


def test_current_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, extensions=frequency(2))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HostJsonError, match="batchCheckpointFrequency"):
        check_host_json({})


@pytest.mark.parametrize(
    "version",
    ["[4.28.0, 5.0.0)", "[4.28, 5.0.0)", "(4.30.1, 5.0.0)", "4.35.0", "[4.28.0]", "[5.*, 6.0.0)"],
)
def test_bundle_from_428_on_is_accepted(tmp_path: Path, version: str) -> None:
    check_host_json(folder(tmp_path, extensionBundle=bundle(version)))


@pytest.mark.parametrize(
    "version",
    ["[4.*, 5.0.0)", "[4.0.0, 5.0.0)", "[3.3.0, 4.0.0)", "(4.27.99, 5.0.0)", "4.27", "latest", ""],
)
def test_bundle_that_may_be_earlier_is_refused(tmp_path: Path, version: str) -> None:
    """Bundles before 4.28 have an Event Hubs extension that checkpoints when it stops."""
    settings = folder(tmp_path, extensionBundle=bundle(version))
    with pytest.raises(HostJsonError, match=r"it takes a range from 4\.28\.0 on") as error:
        check_host_json(settings)
    assert json.dumps(version) in str(error.value)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (FREQUENCY, "1", "2"),
        (FREQUENCY.upper().replace("__", ":"), " 1 ", "0"),
        (BUNDLE, "[4.28.0, 5.0.0)", "[4.*, 5.0.0)"),
    ],
)
def test_app_setting_that_replaces_an_option_is_checked(
    tmp_path: Path, name: str, good: str, bad: str
) -> None:
    """Azure reads such app settings after host.json."""
    settings = folder(tmp_path)
    check_host_json(settings | {name: good})
    with pytest.raises(HostJsonError, match=f"^the app setting {name} is "):
        check_host_json(settings | {name: bad})


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text("{")
    with pytest.raises(HostJsonError):
        check_host_json({"AzureWebJobsScriptRoot": str(tmp_path)})
