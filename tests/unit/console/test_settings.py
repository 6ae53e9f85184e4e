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


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("TOKEN", "short", "has 5 characters: it takes at least 16"),
        ("TOKEN", "ein-längeres-geheimes-wort", "a header cannot have: it takes at least 16"),
        ("TOKEN", "a-token-of-two\nlines-of-text", "a header cannot have: it takes at least 16"),
        ("CALLBACK_HOSTS", "https://prod.logic.azure.com", "it takes host names or"),
        ("CALLBACK_HOSTS", "localhost, host:443", "it takes host names or"),
        ("CALLBACK_HOSTS", "*", "it takes host names or"),
        ("CALLBACK_HOSTS", "*.*.example.com", "it takes host names or"),
        ("PROXIES", "nginx", "it takes IP addresses or networks"),
        ("PROXIES", "10.0.0.1/8", "it takes IP addresses or networks"),
        ("PROXIES", "10.0.0.1:80", "it takes IP addresses or networks"),
        ("PROXIES", "*, 10.0.0.1", "it takes '.', which trusts all, or IP addresses"),
        ("CONSUMER_GROUP", "two words", "it takes letters, digits"),
        ("CONSUMER_GROUP", "g" * 51, "it takes letters, digits"),
    ],
)
def test_setting_without_effect_is_refused(setting: str, value: str, message: str) -> None:
    """Nobody could log in with such a token, and no such host or proxy would ever match."""
    with pytest.raises(ConsoleSettingsError, match=f"CONSOLE_{setting}.*{message}"):
        ConsoleSettings.from_mapping({"CONSOLE_TOKEN": TOKEN} | {f"CONSOLE_{setting}": value})


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("CALLBACK_HOSTS", ["*.Logic.Azure.com", "127.0.0.1, ::1", "host_1.internal"]),
        ("PROXIES", ["*", "10.0.0.1, 10.1.0.0/16", "fd00::/8,::1", ""]),
        ("CONSUMER_GROUP", ["console", "$Default", ""]),
        (
            "TOKEN",
            [TOKEN, f" {TOKEN}\n", "correct horse battery staple", "+/=!#$%&()*,-.:;"],
        ),
    ],
)
def test_right_setting_is_accepted(setting: str, values: list[str]) -> None:
    """The checks are not too strict."""
    for value in values:
        ConsoleSettings.from_mapping({"CONSOLE_TOKEN": TOKEN} | {f"CONSOLE_{setting}": value})


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
