"""Settings of the console: accepted values and errors."""

from __future__ import annotations

import pytest

from console.errors import ConsoleSettingsError
from console.settings import ConsoleSettings

TOKEN = "a-token-of-32-characters-for-test"


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("ORIGINS", "console.example.com", "it takes https://host"),
        ("ORIGINS", "https://console.example.com/path", "it takes https://host"),
        ("EASY_AUTH", "perhaps", "it takes true or false"),
        ("LEASE_SECONDS", "0", "from 1 to 3600"),
        ("SOCKETS_MAX", "many", "it takes a whole number"),
    ],
)
def test_invalid_setting_is_refused(setting: str, value: str, message: str) -> None:
    """The message names the setting and the accepted values."""
    with pytest.raises(ConsoleSettingsError, match=f"CONSOLE_{setting}.*{message}"):
        ConsoleSettings.from_mapping({"CONSOLE_TOKEN": TOKEN, f"CONSOLE_{setting}": value})


def test_settings_behind_a_load_balancer() -> None:
    """Origins are converted to lower case, and proxy addresses stay unchanged."""
    settings = ConsoleSettings.from_mapping(
        {
            "CONSOLE_TOKEN": TOKEN,
            "CONSOLE_ORIGINS": "https://Console.example.com/, http://localhost:7090",
            "CONSOLE_PROXIES": "10.0.0.1",
            "CONSOLE_EASY_AUTH": "true",
        }
    )
    assert settings.origins == ("https://console.example.com", "http://localhost:7090")
    assert (settings.proxies, settings.easy_auth) == (("10.0.0.1",), True)
