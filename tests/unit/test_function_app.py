"""Declarations in function_app.py that the delivery guarantees need from the host."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from breaker import SettingsError as BreakerSettingsError
from breaker.configuration.errors import ConfigurationError
from processing.bootstrap import Application
from processing.errors import HandlerLoadError, SettingsError
from scripts.load_app import SETTINGS

ROOT = Path(__file__).parents[2]
HUB = "Endpoint=sb://x;SharedAccessKeyName=n;SharedAccessKey=k"


@pytest.fixture(scope="module")
def functions() -> dict[str, Any]:
    """Return trigger and retry policy by function name, as the worker indexes the functions."""
    listing = (
        "import json, function_app as f\n"
        "print(json.dumps({g.get_function_name(): ["
        "g.get_trigger().get_dict_repr(), g.get_settings_dict('retry_policy')]"
        " for g in f.app.get_functions()}, default=str))"
    )
    done = subprocess.run(
        [sys.executable, "-c", listing],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"} | SETTINGS,
        capture_output=True,
        check=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_app_declares_five_functions(functions: dict[str, Any]) -> None:
    """The import of the app needs no connection."""
    assert set(functions) == {
        "process_events",
        "deliver_alerts",
        "replay_deferred",
        "health",
        "live",
    }


@pytest.mark.parametrize(
    ("name", "value", "error", "says"),
    [
        ("EVENT_HUB_NAME", "", SettingsError, "EVENT_HUB_NAME is missing; it takes the name"),
        ("EVENT_HUB_CONSUMER_GROUP", "", SettingsError, r"such as \$Default"),
        ("EVENT_HUB_NAME", "events.", SettingsError, "EVENT_HUB_NAME is 'events.'; it takes"),
        ("EVENT_HUB_NAME", "a/b", SettingsError, "EVENT_HUB_NAME is 'a/b'; it takes letters"),
        ("EVENT_HUB_CONSUMER_GROUP", "$Other", SettingsError, r"is '\$Other'; it takes letters"),
        ("REDIS_URL", "", SettingsError, "REDIS_URL is missing; it takes a URL"),
        (
            "REDIS_URL",
            "redis.invalid",
            BreakerSettingsError,
            "REDIS_URL cannot be used: .*; it takes redis",
        ),
        ("EventHubConnection", "hello", SettingsError, "has no Endpoint; it takes Endpoint=sb:"),
        ("EventHubConnection", f"{HUB};EntityPath=a", SettingsError, "hub 'a'.*the same"),
        (
            "EventHubConnection",
            "Endpoint=sb://x",
            SettingsError,
            "has no SharedAccessKey; it takes",
        ),
        ("AzureWebJobsStorage", "AccountName=a", SettingsError, "has no AccountKey .*; it takes"),
        ("EVENT_GRID_TOPIC_ENDPOINT", "topic", BreakerSettingsError, "it takes an http"),
        ("EVENT_HANDLER", "my_handler:handle", HandlerLoadError, "No module named 'my_handler'"),
        ("EVENT_HANDLER", "json:load_it", HandlerLoadError, "json has no 'load_it'"),
        ("BREAKER_WINDOW_SECONDS", "abc", BreakerSettingsError, "'abc': it takes a number"),
        ("BREAKER_FAILURE_TRESHOLD", "5", BreakerSettingsError, "BREAKER_FAILURE_THRESHOLD"),
        ("PROCESSING_MAX_LANE", "5", SettingsError, "did you mean PROCESSING_MAX_LANES"),
        ("PROCESSING_MAX_LANES", "0", SettingsError, "it takes a whole number from 1"),
    ],
)
def test_invalid_setting_prevents_the_app_from_loading(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, error: type[Exception], says: str
) -> None:
    """The host starts no function and shows the error before the first event."""
    for each, given in (SETTINGS | {name: value}).items():
        monkeypatch.setenv(each, given)
    with pytest.raises(error, match=says):
        runpy.run_path(str(ROOT / "function_app.py"))


def test_event_trigger_takes_binary_batches(functions: dict[str, Any]) -> None:
    """The settings name the hub, the consumer group and the connection."""
    trigger, _ = functions["process_events"]
    assert trigger["type"] == "eventHubTrigger"
    assert "BINARY" in str(trigger["dataType"]).upper() or trigger["dataType"] == 1
    assert "MANY" in str(trigger["cardinality"]).upper()
    assert trigger["connection"] == "EventHubConnection"
    assert trigger["eventHubName"] == "%EVENT_HUB_NAME%"
    assert trigger["consumerGroup"] == "%EVENT_HUB_CONSUMER_GROUP%"


def test_event_function_is_retried_forever(functions: dict[str, Any]) -> None:
    """Without retries the host would checkpoint past unfinished events."""
    _, retry = functions["process_events"]
    assert retry["strategy"] == "fixed_delay"
    assert str(retry["max_retry_count"]) == "-1"


@pytest.mark.parametrize(
    "setting", ["PROCESSING_HOLD_SECONDS", "PROCESSING_HANDLER_TIMEOUT_SECONDS"]
)
def test_setting_beyond_the_function_timeout_is_refused_at_start(setting: str) -> None:
    """The app does not start, and the error names both settings (case H61)."""
    timeout = {"AzureFunctionsJobHost__functionTimeout": "00:10:00"}
    with pytest.raises(SettingsError, match=f"{setting} is 900, but the app setting AzureFunc"):
        Application(SETTINGS | timeout | {setting: "900"}).check()
    Application(SETTINGS | timeout | {setting: "90"}).check()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"extensions": {"eventHubs": {"batchCheckpointFrequency": 5}}}, "it takes 1"),
        ({"extensionBundle": {"version": "[3.*, 4.0.0)"}}, "a range from 4.28.0 on"),
    ],
)
def test_host_json_that_loses_events_is_refused_at_start(
    options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    """The app does not start, and the error names the option."""
    (tmp_path / "host.json").write_text(json.dumps({"version": "2.0"} | options))
    settings = SETTINGS | {"AzureWebJobsScriptRoot": str(tmp_path)}
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        Application(settings).check()
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    Application(settings).check()


def test_host_logs_no_run_of_a_timer_that_succeeds(functions: dict[str, Any]) -> None:
    """The timers run every few seconds; the handler's own lines, in a replay, stay."""
    levels = json.loads((ROOT / "host.json").read_text())["logging"]["logLevel"]
    timers = [name for name, (trigger, _) in functions.items() if trigger["type"] == "timerTrigger"]
    assert timers
    for name in timers:
        assert levels[f"Function.{name}"] == "Warning"
        assert levels[f"Function.{name}.User"] == "Information"
