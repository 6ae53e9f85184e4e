"""Secrets that the platform did not resolve are refused by the setting's name."""

from __future__ import annotations

import logging

import pytest

from breaker import BreakerSettings, DependencySettings
from breaker.configuration.errors import ConfigurationError
from console.settings import ConsoleSettings
from processing.bootstrap import Application
from processing.settings import ConnectionSettings, ProcessingSettings
from processing.site.settings import SiteSettings

REFERENCE = "@Microsoft.KeyVault(SecretUri=https://hush.vault.azure.net/secrets/x)"
APP = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "EventHubConnection": "Endpoint=sb://x;SharedAccessKeyName=n;SharedAccessKey=k",
    "EVENT_HUB_NAME": "events",
    "EVENT_HUB_CONSUMER_GROUP": "$Default",
    "REDIS_URL": "redis://h",
}
IDENTITY = {
    "AzureWebJobsStorage": "",
    "AzureWebJobsStorage__accountName": "account",
    "EventHubConnection": "",
    "EventHubConnection__fullyQualifiedNamespace": "n.servicebus.windows.net",
}
TOPIC = {"EVENT_GRID_TOPIC_ENDPOINT": "https://topic.invalid/api/events"}


@pytest.mark.parametrize(
    ("setting", "others"),
    [
        *((name, {}) for name in (*APP, "BreakwaterStorage", "POISON_QUEUE", "EVENT_HANDLER")),
        ("EVENT_GRID_TOPIC_ENDPOINT", {}),
        ("EVENT_GRID_TOPIC_KEY", TOPIC),
        ("EVENT_GRID_TOPIC_KEY", {}),
        *((name, IDENTITY) for name in IDENTITY),
        ("AzureWebJobsStorage__clientId", IDENTITY),
        ("EventHubConnection__clientId", IDENTITY),
        ("BreakwaterStorage__blobServiceUri", {}),
        ("BREAKER_NAME", {}),
        ("BREAKER_CONSOLE_URL", {}),
        ("BREAKER_REDIS_CLIENT_ID", {"BREAKER_REDIS_AUTH": "entra"}),
        ("DEPENDENCY_BANK_MODE", {}),
        ("PROCESSING_POISON_ERRORS", {}),
    ],
)
def test_app_does_not_start_with_a_reference(setting: str, others: dict[str, str]) -> None:
    """The literal text would be used as a name, an address or a key."""
    Application(APP | others).check()
    expected = f"{setting} is a Key Vault reference that the platform did not resolve[;:] it takes"
    with pytest.raises(ConfigurationError, match=expected) as caught:
        Application(APP | others | {setting: REFERENCE}).check()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        REFERENCE,
        f" {REFERENCE}\n",
        f'"{REFERENCE}"',
        REFERENCE.replace("Microsoft.KeyVault", "microsoft.keyvault"),
    ],
)
def test_console_token_is_no_reference(text: str) -> None:
    """Everybody who can read the deployment could log in with the literal text."""
    with pytest.raises(ConfigurationError, match=r"CONSOLE_TOKEN is a Key Vault reference .*: it"):
        ConsoleSettings.from_mapping({"CONSOLE_TOKEN": text})


def test_reference_to_app_configuration_is_refused_as_well() -> None:
    """The platform resolves both kinds of references."""
    text = "@Microsoft.AppConfiguration(Endpoint=https://x.azconfig.io; Key=k)"
    with pytest.raises(ConfigurationError, match="CONSOLE_TOKEN is an App Configuration reference"):
        ConsoleSettings.from_mapping({"CONSOLE_TOKEN": text})


@pytest.mark.parametrize(
    ("read", "setting"),
    [
        (BreakerSettings.from_mapping, "BREAKER_WINDOW_SECONDS"),
        (DependencySettings.from_mapping, "DEPENDENCY_BANK_WINDOW_SECONDS"),
        (ProcessingSettings.from_mapping, "PROCESSING_MAX_LANES"),
        (ConnectionSettings.from_mapping, "AzureWebJobsStorage"),
        (SiteSettings.from_mapping, "FUNCTION_APP_URL"),
    ],
)
def test_each_reader_of_settings_refuses_a_reference(read: object, setting: str) -> None:
    """The command lines use the same readers."""
    assert callable(read)
    with pytest.raises(ConfigurationError, match=f"{setting} is a Key Vault reference"):
        read({setting: REFERENCE})


def test_reference_in_a_setting_of_the_handler_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The app does not know whether the handler reads the setting, so it starts."""
    with caplog.at_level(logging.WARNING):
        Application(APP | {"BANK_KEY": REFERENCE}).check()
    assert "app setting BANK_KEY is a reference to a secret" in caplog.text
    assert "hush" not in caplog.text
