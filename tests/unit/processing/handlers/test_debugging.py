"""Debugging: no time limits, and never on Azure."""

from __future__ import annotations

import pytest

from processing.batch.time_budget import TimeBudget
from processing.bootstrap import Application
from processing.errors import SettingsError
from processing.handlers.debugging import VARIABLE, is_debugging, processing_settings
from scripts.load_app import SETTINGS


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, "WEBSITE_INSTANCE_ID"):
        monkeypatch.delenv(name, raising=False)


def test_debugging_has_no_time_limits() -> None:
    """A handler stands at a breakpoint for as long as its developer reads."""
    settings = {VARIABLE: "1", "PROCESSING_MAX_LANES": "3"}
    processing = processing_settings(settings)
    assert processing.handler_timeout_seconds == processing.watchdog_seconds == 0
    assert processing.lease_seconds == 3600
    assert processing.max_lanes == 3
    assert TimeBudget.from_mapping(settings, processing).start_seconds > 12 * 3600


def test_app_starts_while_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start refuses a handler without a time limit otherwise."""
    monkeypatch.setenv(VARIABLE, "1")
    Application(SETTINGS).check()


@pytest.mark.parametrize("value", ["", "0"])
def test_limits_are_on_by_default(value: str) -> None:
    assert not is_debugging({VARIABLE: value})
    assert processing_settings({VARIABLE: value}).handler_timeout_seconds == 60


def test_debugging_is_refused_on_azure() -> None:
    """Without time limits an event that hangs would end its whole process there."""
    settings = SETTINGS | {VARIABLE: "1", "WEBSITE_INSTANCE_ID": "abc"}
    with pytest.raises(SettingsError, match=r"is 1 on Azure.*remove it from the app settings"):
        Application(settings).check()


def test_other_values_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"BREAKWATER_DEBUG is 'yes'; it takes 1 \(on\) or 0"):
        Application(SETTINGS | {VARIABLE: "yes"}).check()
