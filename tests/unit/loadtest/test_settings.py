"""The command line of the load test and its errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.__main__ import main
from loadtest.arguments import parse
from loadtest.errors import UsageError
from loadtest.plan.settings import AppLimits, ApproveWith, Scenario, Settings, Target


def test_defaults_are_the_settings_of_the_demo() -> None:
    settings = parse(["run"])
    assert isinstance(settings, Settings)
    assert replace(settings, app_settings={}) == replace(Settings(), app_settings={})
    assert (settings.events, settings.keys, settings.poison_every) == (100_000, 100, 2_000)
    assert settings.scenario is Scenario.OUTAGE


@pytest.mark.parametrize(("keys", "threshold"), [(100, "25"), (10, "5"), (1, "1")])
def test_outage_opens_the_circuit_with_half_of_the_keys_in_flight(
    keys: int, threshold: str
) -> None:
    """An event counts once, so that 92 keys in flight never reach the threshold of 100."""
    settings = parse(["run", "--keys", str(keys)])
    assert isinstance(settings, Settings)
    assert settings.app_settings["BREAKER_FAILURE_THRESHOLD"] == threshold
    chosen = parse(["run", "--set", "BREAKER_FAILURE_THRESHOLD=7"])
    assert isinstance(chosen, Settings)
    assert chosen.app_settings["BREAKER_FAILURE_THRESHOLD"] == "7"
    for line in ("run --target running", "run --scenario steady"):
        other = parse(line.split())
        assert isinstance(other, Settings)
        assert not other.app_settings


def test_every_option_reaches_its_setting(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").touch()
    line = (
        "run --scenario seed --events 500 --keys 5 --poison-every 50 --outage-after 10 "
        "--approve-after 0.5 --approve console --report r/x.json --target local "
        f"--endpoints e.json --instances 3 --partitions 8 --app {tmp_path} --set A=1 --set B=x=y "
        "--kill-after 100 --rate 1000 --events-per-batch 7 --timeout 9 --stall 8 --lease 6 --seed 4"
    )
    assert parse(line.split()) == Settings(
        scenario=Scenario.SEED,
        events=500,
        keys=5,
        poison_every=50,
        outage_after=10,
        approve_after_seconds=0.5,
        approve=ApproveWith.CONSOLE,
        report=Path("r/x.json"),
        target=Target.LOCAL,
        endpoints_file=Path("e.json"),
        instances=3,
        partitions=8,
        app=tmp_path,
        app_settings={"A": "1", "B": "x=y"},
        kill_after=100,
        rate_per_second=1000.0,
        events_per_batch=7,
        timeout_seconds=9.0,
        stall_seconds=8.0,
        lease_seconds=6.0,
        seed=4,
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "Commands:"),
        ("sweep", "no command 'sweep'; commands: chaos-sweep, run"),
        ("run --events many", "'--events': 'many' is not a valid integer"),
        ("run --events 0", "--events 0 is out of range; it takes 1 or more"),
        ("run --scenario typhoon", "'--scenario': 'typhoon' is not one of 'outage', "),
        ("run --events 10 --keys 20 --outage-after 1", "each key needs an event"),
        ("run --events 100 --outage-after 100", "the outage would never begin"),
        ("run --kill-after 100000", "--kill-after 100000 is out of range; it takes 1 to 99999"),
        ("run --lease 0", "--lease 0 is out of range; it takes a number of seconds above 0"),
        ("run --timeout 0", "--timeout 0 is out of range; it takes a number of seconds above 0"),
        ("run --timeout nan", "--timeout nan is out of range; it takes a number of seconds"),
        ("run --approve-after nan", "--approve-after nan is out of range; it takes 0 or more"),
        ("run --report out/report.txt", "it takes a file name that ends in .json"),
        ("chaos-sweep", "Missing option '--seeds'"),
        ("chaos-sweep --seeds some", "--seeds 'some' takes numbers and ranges"),
        ("run --set FOO", "--set 'FOO' is invalid; it takes NAME=VALUE"),
        ("run --set =x", "--set '=x' is invalid; it takes NAME=VALUE"),
        ("run --set a-b=x", "an app setting's name"),
        ("run --app /nowhere", "it takes a directory that holds a function_app.py"),
        ("run --target running --set A=1", "--set is only accepted with --target local"),
        ("run --target running --instances 2", "--instances is only accepted with --target local"),
        ("run --target running --no-console", "--no-console is only accepted with --target local"),
        ("run --second-act --scenario steady", "--second-act is only accepted with --scenario"),
        ("run --second-act --faults", "--second-act is only accepted with --scenario outage"),
        ("run --no-console --approve console", "is not accepted with --approve console"),
    ],
)
def test_wrong_option_is_refused_with_the_reason(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(line.split())
    assert message in str(caught.value)


def test_usage_error_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--events", "0"]) == 2
    assert "--events 0 is out of range; it takes 1 or more" in capsys.readouterr().err


def test_missing_running_stack_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints = tmp_path / "endpoints.json"
    line = ["run", "--target", "running", "--endpoints", str(endpoints)]
    assert main(line) == 2
    assert "no stack is running" in "".join(capsys.readouterr().err.split("\n"))


def test_app_limits_have_the_defaults_of_the_app() -> None:
    assert AppLimits.from_values({}) == AppLimits("breakwater", 100, 30.0, 4, 128)
    assert AppLimits.from_values(
        {
            "BREAKER_NAME": "b",
            "BREAKER_FAILURE_THRESHOLD": "7",
            "BREAKER_WINDOW_SECONDS": "1.5",
            "PROCESSING_MAX_ATTEMPTS": "2",
            "PROCESSING_MAX_LANES": "9",
        }
    ) == AppLimits("b", 7, 1.5, 2, 9)
    with pytest.raises(UsageError, match="BREAKER_WINDOW_SECONDS='soon' is invalid; it takes a"):
        AppLimits.from_values({"BREAKER_WINDOW_SECONDS": "soon"})
