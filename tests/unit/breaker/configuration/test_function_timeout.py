"""The host's functionTimeout: app setting, host.json, default; and other replaced options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from breaker.configuration.errors import HostJsonError
from breaker.configuration.function_timeout import FunctionTimeout, read_function_timeout
from breaker.configuration.host_json import read_host_json

SETTING = "AzureFunctionsJobHost__functionTimeout"


def folder(directory: Path, **options: Any) -> dict[str, str]:
    """Write a host.json and return the app settings that name its folder."""
    (directory / "host.json").write_text(json.dumps({"version": "2.0", **options}))
    return {"AzureWebJobsScriptRoot": str(directory)}


def test_timeout_is_that_of_host_json(tmp_path: Path) -> None:
    settings = folder(tmp_path, functionTimeout="00:00:15")
    assert read_function_timeout(settings) == FunctionTimeout(15.0, "functionTimeout in host.json")


@pytest.mark.parametrize(
    "name", [SETTING, SETTING.lower(), "AzureFunctionsJobHost:functionTimeout"]
)
def test_app_setting_replaces_the_timeout_of_host_json(name: str, tmp_path: Path) -> None:
    settings = folder(tmp_path, functionTimeout="00:00:15")
    found = read_function_timeout(settings | {name: " 00:02:00 "})
    assert found == FunctionTimeout(120.0, f"the app setting {name}")


@pytest.mark.parametrize("options", [{}, {"functionTimeout": -1}, {"functionTimeout": "-1"}])
def test_missing_and_unlimited_timeouts_count_as_half_an_hour(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """An invocation without an end would never show a checkpoint."""
    assert read_function_timeout(folder(tmp_path, **options)).seconds == 1800


def test_unlimited_timeout_of_a_setting_counts_as_half_an_hour(tmp_path: Path) -> None:
    settings = folder(tmp_path, functionTimeout="00:00:15") | {SETTING: "-1"}
    assert read_function_timeout(settings).seconds == 1800


def test_setting_counts_without_a_host_json(tmp_path: Path) -> None:
    settings = {"AzureWebJobsScriptRoot": str(tmp_path)}
    assert read_function_timeout(settings).seconds == 1800
    assert read_function_timeout(settings | {SETTING: "00:05:00"}).seconds == 300
    assert read_function_timeout(settings | {SETTING: ""}).seconds == 1800


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("10", f'the app setting {SETTING} is "10"; it takes a time span'),
        ("00:00:00", f"the app setting {SETTING} is 0; it takes a time span above 0"),
    ],
)
def test_wrong_timeout_of_a_setting_is_refused_by_its_name(
    value: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(HostJsonError, match=says):
        read_function_timeout(folder(tmp_path) | {SETTING: value})


def test_settings_replace_options_in_any_section(tmp_path: Path) -> None:
    """The other options of a section keep their values."""
    folder(tmp_path, Extensions={"eventhubs": {"MaxEventBatchSize": 50, "prefetchCount": 7}})
    hubs = "AzureFunctionsJobHost__extensions__eventHubs__"
    host = read_host_json(
        tmp_path / "host.json",
        {f"{hubs}maxEventBatchSize": "20", "AzureFunctionsJobHost__extensions__http__x": "1"},
    )
    assert host.event_hubs.max_event_batch_size == 20
    assert host.event_hubs.prefetch_count == 7
    assert "the app setting AzureFunctionsJobHost__extensions__http__x" in host.unknown[0]


def test_wrong_number_of_a_setting_is_refused_by_its_name(tmp_path: Path) -> None:
    folder(tmp_path)
    name = "AzureFunctionsJobHost__extensions__eventHubs__maxEventBatchSize"
    with pytest.raises(HostJsonError, match=f'the app setting {name} is "many"; it takes a whole'):
        read_host_json(tmp_path / "host.json", {name: "many"})
