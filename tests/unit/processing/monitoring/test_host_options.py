"""The options of host.json that decide how the partitions are watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from processing.monitoring.host_options import batch_size, reads_from_start


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Return settings whose host.json has batches of 1,000 events."""
    (tmp_path / "host.json").write_text(
        '{"version": "2.0", "extensions": {"eventHubs": {"maxEventBatchSize": 1000}}}'
    )
    return {"AzureWebJobsScriptRoot": str(tmp_path)}


@pytest.mark.parametrize("separator", ["__", ":"])
def test_app_setting_replaces_the_option(settings: dict[str, str], separator: str) -> None:
    """Azure compares the names without regard to case."""
    name = "azurefunctionsjobhost__extensions__eventhubs__maxeventbatchsize"
    assert batch_size(settings | {name.replace("__", separator): "5000"}) == 5000


def test_missing_file_has_the_default(tmp_path: Path) -> None:
    """Azure then uses the defaults of the extension."""
    assert batch_size({"AzureWebJobsScriptRoot": str(tmp_path)}) == 100


def test_file_without_the_option_reads_from_the_start(settings: dict[str, str]) -> None:
    """It is the default of the extension; an app setting replaces the option."""
    assert batch_size(settings) == 1000
    assert reads_from_start(settings)
    name = "AzureFunctionsJobHost__extensions__eventHubs__initialOffsetOptions__type"
    assert not reads_from_start(settings | {name: "fromEnd"})


def test_file_may_read_from_the_end(tmp_path: Path) -> None:
    """Then a partition without a checkpoint has events that nobody will receive."""
    (tmp_path / "host.json").write_text(
        '{"version": "2.0", "extensions": {"eventHubs": '
        '{"initialOffsetOptions": {"type": "fromEnd"}}}}'
    )
    assert not reads_from_start({"AzureWebJobsScriptRoot": str(tmp_path)})


def test_missing_file_says_nothing_about_the_start(tmp_path: Path) -> None:
    """The console has no host.json."""
    assert not reads_from_start({"AzureWebJobsScriptRoot": str(tmp_path)})
