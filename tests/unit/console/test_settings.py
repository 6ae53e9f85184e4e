"""The console's settings: what they take, and what they say to anything else."""

from __future__ import annotations

import pytest

from console.errors import ConsoleSettingsError
from console.settings import ConsoleSettings

TOKEN = "a-token-of-32-characters-for-test"


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("ORIGINS", "console.example.com", "it takes https://host"),
        ("ORIGINS", "https://console.example.com/path", "it takes https://host"),
        ("EASY_AUTH", "perhaps", "it takes true or false"),
        ("LEASE_SECONDS", "0", "from 1 to 3600"),
        ("SOCKETS_MAX", "many", "it takes a whole number"),
    ],
)
def test_settings_that_cannot_be_used(setting: str, value: str, says: str) -> None:
    """The message names the setting and what it takes."""
    with pytest.raises(ConsoleSettingsError, match=f"CONSOLE_{setting}.*{says}"):
        ConsoleSettings.from_mapping({"CONSOLE_TOKEN": TOKEN, f"CONSOLE_{setting}": value})


def test_settings_with_a_balancer_in_front() -> None:
    """Its origin and its addresses."""
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
