"""The breaker's settings: names, defaults, and errors with the accepted values."""

from __future__ import annotations

from dataclasses import fields

import pytest

from breaker import BreakerSettings, Recovery, RedisAuth, SettingsError


def test_defaults_match_documentation() -> None:
    """The defaults are 100 failures in 30 seconds and manual recovery."""
    settings = BreakerSettings.from_mapping({"PATH": "/bin", "REDIS_URL": "redis://x"})
    assert settings == BreakerSettings()
    assert (settings.failure_threshold, settings.window_seconds) == (100, 30)
    assert (settings.recovery, settings.failure_ratio) == (Recovery.MANUAL, None)


def test_each_field_is_read_from_its_setting() -> None:
    """Each type is read; names are not case-sensitive, blanks mean the default."""
    settings = BreakerSettings.from_mapping(
        {
            "BREAKER_NAME": "orders",
            "BREAKER_FAILURE_THRESHOLD": " 5 ",
            "breaker_window_seconds": "2.5",
            "BREAKER_FAILURE_RATIO": "0.25",
            "BREAKER_RECOVERY": "Automatic",
            "BREAKER_COUNT_POISON": "false",
            "BREAKER_REDIS_AUTH": "entra",
            "BREAKER_REDIS_CLIENT_ID": "abc",
            "BREAKER_HALF_OPEN_PERMITS": "",
        }
    )
    assert settings == BreakerSettings(
        name="orders",
        failure_threshold=5,
        window_seconds=2.5,
        failure_ratio=0.25,
        recovery=Recovery.AUTOMATIC,
        count_poison=False,
        redis_auth=RedisAuth.ENTRA,
        redis_client_id="abc",
    )


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("NAME", "a{b}", "BREAKER_NAME is 'a{b}': it takes 1 to 64 letters"),
        ("NAME", "x" * 65, "it takes 1 to 64 letters"),
        ("FAILURE_THRESHOLD", "0", "THRESHOLD is '0': it takes a whole number from 1"),
        ("FAILURE_THRESHOLD", "2.5", "BREAKER_FAILURE_THRESHOLD is '2.5': it takes a whole number"),
        ("FAILURE_THRESHOLD", "many", "it takes a whole number"),
        ("WINDOW_SECONDS", "0", "BREAKER_WINDOW_SECONDS is '0': it takes a number from 0.001"),
        ("WINDOW_SECONDS", "nan", "it takes a number"),
        ("WINDOW_SECONDS", "inf", "it takes a number"),
        ("FAILURE_RATIO", "1.5", "RATIO is '1.5': it takes a number from 1e-06 to 1"),
        ("FAILURE_RATIO", "0", "BREAKER_FAILURE_RATIO is '0'"),
        ("RECOVERY", "maybe", "BREAKER_RECOVERY is 'maybe': it takes manual or automatic"),
        ("COUNT_POISON", "perhaps", "BREAKER_COUNT_POISON is 'perhaps': it takes true or false"),
        ("BREAK_SECONDS_MAX", "1", "BREAKER_BREAK_SECONDS_MAX is 1: it takes at least break_se"),
        ("POLL_SECONDS", "-1", "BREAKER_POLL_SECONDS is '-1': it takes a number from 0.01"),
        ("STORE_GRACE_SECONDS", "-1", "BREAKER_STORE_GRACE_SECONDS is '-1'"),
        ("CONSOLE_URL", "console:7090", "CONSOLE_URL is 'console:7090': it takes the console's"),
        ("CONSOLE_URL", "https://", "it takes the console's http(s) address"),
        ("CONSOLE_URL", "https://c/?next=x", "it takes the console's http(s) address"),
        ("CONSOLE_URL", "https://u:p@c", "it takes the console's http(s) address"),
        ("CONSOLE_URL", "https://c:no", "it takes the console's http(s) address"),
    ],
)
def test_invalid_value_is_refused(name: str, value: str, says: str) -> None:
    """The message has the setting, its value and the accepted values."""
    with pytest.raises(SettingsError) as raised:
        BreakerSettings.from_mapping({f"BREAKER_{name}": value})
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("BREAKER_FAILURE_TRESHOLD", "BREAKER_FAILURE_THRESHOLD"),
        ("BREAKER_WINDOW_SECS", "BREAKER_WINDOW_SECONDS"),
        ("BREAKER_HALFOPEN_PERMITS", "BREAKER_HALF_OPEN_PERMITS"),
    ],
)
def test_unknown_name_suggests_nearest_setting(name: str, near: str) -> None:
    """A mistyped name is an error, not a silent default."""
    with pytest.raises(SettingsError, match=f"unknown setting {name}: did you mean {near}?"):
        BreakerSettings.from_mapping({name: "1"})


def test_settings_are_frozen_and_documented() -> None:
    """Each field is in the class's docstring."""
    with pytest.raises(AttributeError):
        BreakerSettings().name = "other"  # type: ignore[misc]
    documented = BreakerSettings.__doc__ or ""
    assert [field.name for field in fields(BreakerSettings) if field.name not in documented] == []


def test_choices_accept_plain_text() -> None:
    """Code may pass "automatic" for the StrEnum; other texts are refused."""
    assert BreakerSettings(recovery="automatic").recovery is Recovery.AUTOMATIC  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="BREAKER_RECOVERY is 'never'"):
        BreakerSettings(recovery="never")  # type: ignore[arg-type]
