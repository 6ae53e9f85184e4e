"""The second act of the scenario `outage`, in which a dependency of some keys is away."""

from __future__ import annotations

from loadtest.arguments import parse
from loadtest.plan.settings import Scenario, Settings
from loadtest.plan.workload import Workload
from loadtest.verify.expectation import Expectation


def settings_of(*options: str) -> Settings:
    settings = parse(["run", "--scenario", "outage", "--second-act", *options])
    assert isinstance(settings, Settings)
    return settings


def test_some_keys_need_the_bank_when_the_first_act_is_over() -> None:
    """The first act begins after 20,000 events, and the second after 65,000."""
    workload = Workload.from_settings(settings_of())
    needing = {
        (key, counter)
        for key in range(100)
        for counter in range(1, 1_001)
        if workload.needs(key, counter)
    }
    assert {key for key, _ in needing} == set(range(0, 100, 10))
    assert min(counter for _, counter in needing) == 601
    assert {workload.needs(*each) for each in needing} == {"bank"}
    assert workload.away == "bank"


def test_events_without_the_act_are_the_same() -> None:
    one = Workload.from_settings(settings_of("--events", "20000", "--outage-after", "9"))
    two = Workload(Scenario.OUTAGE, 20_000, 100, 2_000, 0)
    assert one.faults == two.faults
    assert not any(two.needs(key, 200) for key in range(100))


def test_both_circuits_open_once() -> None:
    expected = Expectation.of(Workload.from_settings(settings_of()), 25)
    assert (expected.least_openings, expected.most_openings) == (1, 1)
    assert expected.dependency_openings == {"bank": (1, 1)}
    assert expected.least_deferred == 1
    assert expected.most_late_seconds is None, "events of the first act wait"


def test_bank_has_a_circuit_that_opens_soon() -> None:
    settings = settings_of("--set", "DEPENDENCY_BANK_BREAK_SECONDS=9")
    assert settings.app_settings["DEPENDENCY_BANK_FAILURE_THRESHOLD"] == "5"
    assert settings.app_settings["DEPENDENCY_BANK_BREAK_SECONDS"] == "9", "as chosen"
    assert settings.app_settings["BREAKER_FAILURE_THRESHOLD"] == "25"
    without = parse(["run", "--scenario", "outage"])
    assert isinstance(without, Settings)
    assert not any(name.startswith("DEPENDENCY_") for name in without.app_settings)
