"""The settings of dependencies: names, defaults, and errors with the accepted values."""

from __future__ import annotations

from dataclasses import fields

import pytest

from breaker import BreakerSettings, DependencySettings, Mode, Recovery, SettingsError
from breaker.dependencies.settings import FIELDS, Overrides


def read(**settings: str) -> DependencySettings:
    return DependencySettings.from_mapping(settings)


def test_dependency_has_the_settings_of_the_app_but_recovers_by_itself() -> None:
    """Also if the app's recovery is set to manual by name."""
    settings = read(
        BREAKER_NAME="orders", BREAKER_FAILURE_THRESHOLD="7", BREAKER_RECOVERY="manual"
    ).of("bank")
    assert (settings.name, settings.failure_threshold) == ("orders", 7)
    assert settings.recovery is Recovery.AUTOMATIC
    assert settings.rules("i").break_us == 30_000_000


def test_setting_of_one_dependency_changes_no_other() -> None:
    settings = read(
        DEPENDENCY_BANK_RECOVERY="Manual",
        dependency_bank_mode="observe",
        DEPENDENCY_MAIL_BREAK_SECONDS=" 5 ",
        DEPENDENCY_MAIL_WINDOW_SECONDS="",
    )
    bank, mail, other = map(settings.of, ("bank", "mail", "other"))
    assert (bank.recovery, bank.mode) == (Recovery.MANUAL, Mode.OBSERVE)
    assert (mail.recovery, mail.break_seconds, mail.mode) == (
        Recovery.AUTOMATIC,
        5,
        Mode.ENFORCE,
    )
    assert mail.window_seconds == other.window_seconds == 30
    assert (other.break_seconds, other.recovery) == (30, Recovery.AUTOMATIC)


def test_each_rule_can_be_set_for_one_dependency() -> None:
    """Each field of the overrides is a field of the app's settings with the same values."""
    known = {each.name: each for each in fields(BreakerSettings)}
    assert known.keys() >= set(FIELDS)
    for each in fields(Overrides):
        assert str(each.type).removesuffix(" | None") in str(known[each.name].type)


@pytest.mark.parametrize("name", ["a-b", "a.b", "a_b", "A-B"])
def test_setting_spells_a_name_in_capitals_with_underscores(name: str) -> None:
    assert read(DEPENDENCY_A_B_BREAK_SECONDS_MAX="40").of(name).break_seconds_max == 40


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BANK_RECOVERY", "maybe", "DEPENDENCY_BANK_RECOVERY is 'maybe': it takes manual or auto"),
        ("BANK_FAILURE_THRESHOLD", "0", "DEPENDENCY_BANK_FAILURE_THRESHOLD is '0': it takes a who"),
        ("BANK_RECOVRY", "x", "unknown setting DEPENDENCY_BANK_RECOVRY: did you mean "
         "DEPENDENCY_BANK_RECOVERY?"),
        ("MY_BANK_WINDOW", "9", "did you mean DEPENDENCY_MY_BANK_WINDOW_SECONDS?"),
        ("BANK", "x", "unknown setting DEPENDENCY_BANK: did you mean DEPENDENCY_<NAME>_MODE?"),
        ("BANK_POLL_SECONDS", "1", "DEPENDENCY_BANK_POLL_SECONDS cannot be set for one dependency: "
         "set BREAKER_POLL_SECONDS for the app and all its dependencies"),
        ("_MODE", "observe", "DEPENDENCY__MODE cannot be used: the name of a dependency is ''"),
        ("BÄNK_MODE", "observe", "it takes 1 to 32 letters, digits, '-', '_' or '.'"),
        ("BANK_BREAK_SECONDS_MAX", "5", "DEPENDENCY_BANK_BREAK_SECONDS_MAX is 5: it takes at least "
         "break_seconds (30)"),
        ("BANK_BREAK_SECONDS", "900", "DEPENDENCY_BANK_BREAK_SECONDS_MAX is 600, the value of the "
         "app: it takes at least break_seconds (900)"),
    ],
)  # fmt: skip
def test_invalid_setting_is_refused_by_name(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(**{f"DEPENDENCY_{name}": value})
    assert says in str(raised.value)


def test_setting_of_the_platform_is_ignored() -> None:
    """A Kubernetes service named `dependency-x` gives each pod such variables."""
    links = {"DEPENDENCY_X_SERVICE_HOST": "10.0.0.1", "DEPENDENCY_X_PORT": "tcp://10.0.0.1:80"}
    assert not read(**links).overrides


def test_field_wins_over_a_name_of_the_platform() -> None:
    """A dependency may be named as a service's port."""
    settings = read(DEPENDENCY_PAY_SERVICE_PORT_BREAK_SECONDS="7")
    assert settings.of("pay-service-port").break_seconds == 7


def test_tool_judges_no_standstill_of_any_dependency() -> None:
    """A tool may have other settings than the app, so its look must not open a circuit."""
    settings = DependencySettings.from_mapping(
        {"DEPENDENCY_BANK_STANDSTILL_FAILURES": "5"}, judges=False
    )
    assert settings.of("bank").standstill_failures == 0
    assert settings.of("mail").standstill_failures == 0
