"""The time budget of an invocation: which settings fit into functionTimeout."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from breaker.configuration.function_timeout import FunctionTimeout
from processing.batch.time_budget import TimeBudget, check_fit
from processing.errors import SettingsError
from processing.settings import ProcessingSettings

ROOT = Path(__file__).parents[4]


def test_attempts_start_in_four_fifths_of_the_time() -> None:
    budget = TimeBudget.of(FunctionTimeout(600), handler_timeout_seconds=60)
    assert budget.start_seconds == 480
    assert 480 + 66 < budget.write_seconds < 600


def test_run_of_the_timer_fits() -> None:
    assert TimeBudget.of(FunctionTimeout(600), handler_timeout_seconds=60).timer_seconds == 4
    assert TimeBudget.of(FunctionTimeout(4), handler_timeout_seconds=0.4).timer_seconds == 3.2


def test_attempts_end_earlier_before_a_long_call() -> None:
    """A call that is cancelled a tenth late still leaves time for the writes of its outcome."""
    budget = TimeBudget.of(FunctionTimeout(100), handler_timeout_seconds=20)
    assert budget.start_seconds + 1.1 * 20 < budget.write_seconds < 100


@pytest.mark.parametrize("folder", [ROOT, *(ROOT / "tests").glob("*/apps/*/")])
def test_settings_of_this_repository_fit(folder: Path) -> None:
    """Each app of the repository starts with the default settings."""
    if (folder / "host.json").exists() and folder.name != "broken_binding":
        TimeBudget.from_mapping({"AzureWebJobsScriptRoot": str(folder)}, ProcessingSettings())
    TimeBudget.from_mapping(
        {"AzureWebJobsScriptRoot": str(ROOT)},
        ProcessingSettings.from_mapping(json.loads((ROOT / "infra/settings.json").read_text())),
    )


@pytest.mark.parametrize(
    ("seconds", "settings", "says"),
    [
        (
            15,
            {"hold_seconds": 900, "handler_timeout_seconds": 2},
            "PROCESSING_HOLD_SECONDS is 900, but functionTimeout in host.json is 15 s: no attempt "
            "starts in the last fifth of it, which the setting must fit into; it takes at most 3",
        ),
        (15, {}, "PROCESSING_HANDLER_TIMEOUT_SECONDS is 60, but functionTimeout in host.json"),
        (600, {"handler_timeout_seconds": 0}, "SECONDS is 0 (no limit), but functionTimeout in"),
        (600, {"retry_max_seconds": 600}, "PROCESSING_RETRY_MAX_SECONDS is 600, but"),
        (600, {"retry_initial_seconds": 481}, "PROCESSING_RETRY_INITIAL_SECONDS is 481, but"),
        (600, {"dependency_pause_seconds": 3600}, "PROCESSING_DEPENDENCY_PAUSE_SECONDS is 3600,"),
        (
            600,
            {"retry_initial_seconds": 200, "retry_max_seconds": 400, "max_attempts": 3},
            "add up to pauses of 800 s, but functionTimeout in host.json is 600 s",
        ),
    ],
)
def test_setting_that_does_not_fit_is_refused_by_name(
    seconds: float, settings: dict[str, Any], says: str
) -> None:
    timeout = FunctionTimeout(seconds, "functionTimeout in host.json")
    with pytest.raises(SettingsError, match=re.escape(says)):
        check_fit(ProcessingSettings(**settings), timeout)


def test_settings_at_the_limits_fit() -> None:
    settings = ProcessingSettings(handler_timeout_seconds=2, hold_seconds=2, retry_max_seconds=8)
    check_fit(settings, FunctionTimeout(10))


def test_lease_outlasts_the_watchdog_and_one_call() -> None:
    """Another instance must not replay a key whose call still runs."""
    settings = ProcessingSettings(watchdog_seconds=200, handler_timeout_seconds=60)
    assert settings.lease_seconds == 290
    assert ProcessingSettings(replay_lease_seconds=600).lease_seconds == 600
