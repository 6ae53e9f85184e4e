"""Validation of the settings, and its messages."""

from __future__ import annotations

import pytest

from processing.errors import SettingsError
from processing.settings import ConnectionSettings, ProcessingSettings

COMPLETE = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true;AccountKey=hush",
    "EventHubConnection": "Endpoint=sb://x;SharedAccessKeyName=n;SharedAccessKey=hush",
    "EVENT_HUB_NAME": "events",
    "REDIS_URL": "redis://:hush@127.0.0.1:1/0",
    "EVENT_GRID_TOPIC_KEY": "hush",
}


def test_settings_are_converted_to_their_types() -> None:
    """Missing settings keep their defaults, and other names are ignored."""
    settings = ProcessingSettings.from_mapping(
        {
            "PROCESSING_MAX_LANES": "5",
            "PROCESSING_HOLD_SECONDS": "1.5",
            "PROCESSING_DEPENDENCY_ERRORS": "a.B, c.D",
            "PROCESSING_POISON_ERRORS": " e.F ",
            "OTHER": "x",
        }
    )
    assert settings == ProcessingSettings(
        max_lanes=5,
        hold_seconds=1.5,
        dependency_errors=("a.B", "c.D"),
        poison_errors=("e.F",),
    )


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PROCESSING_MAX_LANE", "5", "did you mean PROCESSING_MAX_LANES"),
        ("PROCESSING_MAX_LANES", "many", "it takes a whole number"),
        ("PROCESSING_MAX_LANES", "0", "it takes a whole number from 1 to"),
        ("PROCESSING_HOLD_SECONDS", "nan", "it takes a number from 0 to"),
        ("PROCESSING_PROGRESS_MODE", "loose", "it takes strict or relaxed"),
        ("PROCESSING_KEYLESS_ORDER", "x", "it takes partition or none"),
        ("PROCESSING_", "x", "did you mean"),
        (
            "PROCESSING_POISON_ERRORS",
            "a.B, ValidationError",
            "has 'ValidationError': it takes dotted",
        ),
        ("PROCESSING_POISON_ERRORS", "a.B c.D", "it takes dotted names of exceptions"),
        ("PROCESSING_DEPENDENCY_ERRORS", "a..B", "it takes dotted names of exceptions"),
    ],
)
def test_invalid_setting_is_refused(name: str, value: str, says: str) -> None:
    """The message names the setting, its value and the accepted values."""
    with pytest.raises(SettingsError, match=says) as caught:
        ProcessingSettings.from_mapping({name: value})
    assert name in str(caught.value)


def test_error_that_is_named_as_outage_and_as_poison_is_refused() -> None:
    """The event would be kept or poisoned, depending on the order of the checks."""
    both = {"PROCESSING_DEPENDENCY_ERRORS": "a.B,c.D", "PROCESSING_POISON_ERRORS": "c.D"}
    with pytest.raises(SettingsError, match=r"DEPENDENCY_ERRORS and .*POISON_ERRORS both .* c\.D"):
        ProcessingSettings.from_mapping(both)


@pytest.mark.parametrize("missing", ["AzureWebJobsStorage", "EventHubConnection", "REDIS_URL"])
def test_missing_connection_is_refused(missing: str) -> None:
    """The message names the missing setting."""
    with pytest.raises(SettingsError, match=f"app setting {missing} is missing"):
        ConnectionSettings.from_mapping(COMPLETE | {missing: ""})


def test_identity_endpoints_replace_connection_strings() -> None:
    """Consumer group and handler have their defaults."""
    settings = ConnectionSettings.from_mapping(
        {
            "AzureWebJobsStorage__queueServiceUri": "https://q",
            "AzureWebJobsStorage__blobServiceUri": "https://b",
            "EventHubConnection__fullyQualifiedNamespace": "n.servicebus.windows.net",
            "EVENT_HUB_NAME": "events",
            "REDIS_URL": "rediss://x",
        }
    )
    assert settings.namespace == "n.servicebus.windows.net"
    assert settings.event_hub_consumer_group == "$Default"
    assert settings.event_handler == "processing.handlers.ledger:LedgerHandler"


def test_repr_contains_no_secret() -> None:
    """The settings may be logged."""
    assert "hush" not in repr(ConnectionSettings.from_mapping(COMPLETE))


@pytest.mark.parametrize("named", ["events", "Events", "EVENTS"])
@pytest.mark.parametrize("group", ["$Default", "$default", " $DEFAULT "])
def test_names_are_compared_as_azure_compares_them(named: str, group: str) -> None:
    """Every spelling is accepted and is the same identity."""
    values = COMPLETE | {
        "EventHubConnection": f"{COMPLETE['EventHubConnection']};EntityPath={named}",
        "EVENT_HUB_NAME": "eVents",
        "EVENT_HUB_CONSUMER_GROUP": group,
    }
    found = ConnectionSettings.from_mapping(values).identity
    assert (found.hub, found.consumer_group) == ("events", "$default")


def test_progress_outlives_the_longest_retention() -> None:
    """A hub keeps its events for at most 90 days; less than a day is refused by name."""
    assert ProcessingSettings().progress_ttl_seconds > 90 * 24 * 3600
    with pytest.raises(SettingsError, match=r"PROCESSING_PROGRESS_TTL_SECONDS.*86400"):
        ProcessingSettings.from_mapping({"PROCESSING_PROGRESS_TTL_SECONDS": "86399"})
