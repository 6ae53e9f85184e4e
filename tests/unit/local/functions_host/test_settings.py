"""App settings, host.json's log lines, retry policies and site state."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from breaker.configuration.host_options import HostJson
from local.functions_host.app_settings import AppSettings, load_settings_file
from local.functions_host.errors import AppLoadError, SettingsError
from local.functions_host.host_json import load_host_json
from local.functions_host.triggers.event_hubs.source import EventHubsSource
from local.functions_host.worker.functions import Function
from local.functions_host.worker.protos import Message
from local.functions_host.worker.retry_policy import RetryPolicy
from local.site import SiteState


def test_names_in_percent_signs_are_replaced() -> None:
    settings = AppSettings({"A": "1", "B": "2"})
    assert settings.expand("%A%-%B%-100", "here") == "1-2-100"


def test_a_missing_setting_is_named_with_its_binding_and_a_similar_name() -> None:
    settings = AppSettings({"EVENT_HUB_NAME": "x"}, "file.json")
    with pytest.raises(SettingsError, match=r"^here: app setting 'EVENT_HUB' .* file\.json") as e:
        settings.expand("%EVENT_HUB%", "here")
    assert str(e.value).endswith("did you mean 'EVENT_HUB_NAME'?")


def test_a_connection_is_looked_up_with_the_platforms_prefix_first() -> None:
    assert AppSettings({"C": "a", "AzureWebJobsC": "b"}).connection("C", "here") == "b"
    assert AppSettings({"C": "a"}).connection("C", "here") == "a"


def test_an_identity_based_connection_is_refused_with_the_reason() -> None:
    settings = AppSettings({"C__fullyQualifiedNamespace": "x.servicebus.windows.net"})
    with pytest.raises(SettingsError, match="identity-based"):
        settings.connection("C", "here")


@pytest.mark.parametrize(
    ("suffix", "tls"),
    [
        ("", True),
        (";UseDevelopmentEmulator=true", False),
        (";usedevelopmentemulator=true;", False),
        (";UseDevelopmentEmulator=false", True),
        (";UseDevelopmentEmulator=True", True),
    ],
)
def test_only_an_emulator_is_used_without_tls(suffix: str, tls: bool) -> None:
    """The SDK uses TLS for any other spelling of the value."""
    connection = "Endpoint=sb://a.invalid;SharedAccessKeyName=a;SharedAccessKey=YQ==" + suffix
    assert EventHubsSource(connection, "events", "$Default", "").uses_tls is tls


def test_development_storage_is_expanded() -> None:
    found = AppSettings({"S": "UseDevelopmentStorage=true;"}).storage("S", "here")
    assert "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1" in found
    assert "QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1" in found


@pytest.mark.parametrize(
    ("name", "value", "disabled"),
    [
        ("AzureWebJobs.tick.Disabled", "true", True),
        ("AzureWebJobs.tick.Disabled", "1", True),
        ("AzureWebJobs_tick_Disabled", "TRUE", True),
        ("AzureWebJobs.tick.Disabled", "false", False),
        ("AzureWebJobs.tick.Disabled", "0", False),
        ("AzureWebJobs.other.Disabled", "true", False),
    ],
)
def test_disabled_functions(name: str, value: str, disabled: bool) -> None:
    assert AppSettings({name: value}).is_disabled("tick") is disabled


def test_a_settings_file_adds_only_missing_variables(tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text(json.dumps({"Values": {"A": "file", "B": "file", "N": 5, "T": True}}))
    environment = {"A": "environment"}
    load_settings_file(path, environment)
    assert environment == {"A": "environment", "B": "file", "N": "5", "T": "true"}


def test_a_missing_host_json_gives_the_defaults(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_host_json(tmp_path / "host.json") == HostJson()
    assert caplog.messages == [f"no host.json in {tmp_path}; every option has its default"]


def test_host_json_warns_of_an_unknown_option_and_names_a_near_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "host.json"
    path.write_text(
        """{
            "version": "2.0",  // Core Tools accepts comments
            "extensions": {"eventHubs": {"maxBatchSize": 5},},
            "extensionBundle": {"id": "x"}
        }"""
    )
    load_host_json(path)
    assert len(caplog.messages) == 1
    assert "unknown option 'extensions.eventHubs.maxBatchSize' is ignored" in caplog.text
    assert "did you mean 'maxEventBatchSize'?" in caplog.text


def _options(**fields: Any) -> Message:
    return Message(**fields)


def test_fixed_delay_policy_may_have_no_retry_limit() -> None:
    policy = RetryPolicy.from_options(
        "f",
        _options(
            retry_strategy="fixed_delay", max_retry_count=-1, delay_interval=timedelta(seconds=5)
        ),
    )
    assert policy is not None
    assert policy.allows(1)
    assert policy.allows(1_000_000)
    assert policy.delay_seconds(1) == policy.delay_seconds(1_000_000) == 5


def test_an_exponential_backoff_doubles_up_to_its_maximum() -> None:
    policy = RetryPolicy(
        "exponential_backoff", 3, minimum=timedelta(seconds=2), maximum=timedelta(seconds=10)
    )
    assert [policy.delay_seconds(n) for n in (1, 2, 3, 4, 5, 100_000)] == [2, 4, 8, 10, 10, 10]
    assert [policy.allows(n) for n in (1, 3, 4)] == [True, True, False]


def test_no_policy_stays_none() -> None:
    assert RetryPolicy.from_options("f", None) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"retry_strategy": "sometimes", "max_retry_count": 1}, "fixed_delay or exponential"),
        ({"retry_strategy": "fixed_delay", "max_retry_count": -2}, "-1 for no limit"),
        (
            {
                "retry_strategy": "exponential_backoff",
                "max_retry_count": 1,
                "minimum_interval": timedelta(seconds=9),
                "maximum_interval": timedelta(seconds=3),
            },
            "is above maximum_interval",
        ),
    ],
)
def test_an_invalid_policy_is_rejected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(AppLoadError, match=message):
        RetryPolicy.from_options("f", _options(**fields))


def test_the_site_runs_until_it_is_stopped(tmp_path: Path) -> None:
    site = SiteState(tmp_path / "state")
    assert site.read() == "Running"
    site.write("Stopped")
    assert SiteState(tmp_path / "state").read() == "Stopped"
    site.write("Running")
    assert site.read() == "Running"
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["site.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": "Paused"}'])
def test_an_invalid_site_state_is_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "site.json").write_text(text)
    with pytest.raises(ValueError, match="site"):
        SiteState(tmp_path).read()


def test_only_states_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Running, Stopped"):
        SiteState(tmp_path).write("Paused")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "direction"),
    [("table", "in"), ("queue", "in"), ("eventHub", "in"), ("sendGrid", "out"), ("blob", "inout")],
)
def test_an_unsupported_binding_is_rejected_by_name(kind: str, direction: str) -> None:
    bindings = [
        {"type": "timerTrigger", "name": "timer", "direction": "in"},
        {"type": kind, "name": "extra", "direction": direction},
    ]
    metadata = Message(
        name="tick",
        function_id="id",
        raw_bindings=[json.dumps(binding) for binding in bindings],
        retry_options=None,
    )
    with pytest.raises(
        AppLoadError,
        match=rf"function 'tick': binding 'extra' \({kind}, {direction}\) is not supported by the "
        "local host; besides triggers it supports blob inputs, and http, queue, eventHub, blob "
        "outputs",
    ):
        Function.from_metadata(metadata)
