"""The functions that an app registers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

import breakwater
from breaker import SettingsError as BreakerSettingsError
from breaker.configuration.errors import ConfigurationError
from breaker.configuration.pipelines import PipelineError
from processing.errors import HandlerLoadError, SettingsError
from scripts.load_app import SETTINGS

ROOT = Path(__file__).parents[3]
APP = ROOT / "tests" / "apps" / "existing"
NAMES = ("process_events", "deliver_alerts", "replay_deferred", "health", "live")


def names(*blueprints: func.Blueprint) -> list[str]:
    app = func.FunctionApp()
    for each in blueprints:
        app.register_functions(each)
    return [str(each.get_function_name()) for each in app.get_functions()]


def routes(blueprint: func.Blueprint) -> list[str]:
    app = func.FunctionApp()
    app.register_functions(blueprint)
    triggers = [trigger for each in app.get_functions() if (trigger := each.get_trigger())]
    found = [each.get_dict_repr() for each in triggers]
    return [str(each["route"]) for each in found if each["type"] == "httpTrigger"]


def test_names_and_routes_begin_with_breakwater() -> None:
    assert names(breakwater.blueprint(SETTINGS)) == [f"breakwater_{name}" for name in NAMES]
    assert routes(breakwater.blueprint(SETTINGS)) == ["breakwater/health", "breakwater/live"]


def test_names_and_routes_can_be_chosen() -> None:
    chosen = breakwater.blueprint(SETTINGS, prefix="in_", route="ops/in")
    assert names(chosen)[0] == "in_process_events"
    assert routes(chosen) == ["ops/in/health", "ops/in/live"]
    del chosen
    assert routes(breakwater.blueprint(SETTINGS, prefix="", route="")) == ["health", "live"]


@pytest.mark.parametrize("prefix", ["1_", "a b", "_a", "a.b", "x" * 101, "a\n"])
def test_prefix_that_no_function_may_have_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="it takes up to 100 letters") as refused:
        breakwater.blueprint(SETTINGS, prefix=prefix)
    assert repr(prefix) in str(refused.value)


@pytest.mark.parametrize("route", ["/ops", "ops/", "a//b", "a b", "{id}"])
def test_route_that_the_host_cannot_have_is_refused(route: str) -> None:
    with pytest.raises(ValueError, match="it takes a path without a slash at its ends"):
        breakwater.blueprint(SETTINGS, route=route)


@pytest.mark.parametrize("group", ["app", "APP"])
def test_second_blueprint_of_a_hub_is_refused(group: str) -> None:
    """The host would share the partitions between both, and each handler would miss events."""
    app = func.FunctionApp()
    app.register_functions(breakwater.blueprint(SETTINGS))
    second = SETTINGS | {"EVENT_HUB_CONSUMER_GROUP": group}
    with pytest.raises(
        ValueError, match=r"hub 'events' and the consumer group .* Routes .* PIPELINES"
    ):
        breakwater.blueprint(second, prefix="second_", route="second")


def test_blueprint_that_was_dropped_or_that_failed_does_not_count() -> None:
    """An app may be loaded again, and each test may have its own."""
    for _ in range(2):
        assert len(names(breakwater.blueprint(SETTINGS))) == len(NAMES)
        with pytest.raises(BreakerSettingsError):
            breakwater.blueprint(SETTINGS | {"BREAKER_WINDOW_SECONDS": "abc"})


def test_blueprints_of_two_consumer_groups_are_accepted() -> None:
    """Each of them receives all events."""
    groups = ("one", "two")
    both = [breakwater.blueprint(SETTINGS | {"EVENT_HUB_CONSUMER_GROUP": each}) for each in groups]
    assert len(both) == 2


HANDLER = {"EVENT_HANDLER": "processing.handlers.ledger:LedgerHandler"}
TWO = {
    **SETTINGS,
    **HANDLER,
    "PIPELINES": "orders,audit",
    "PIPELINE_AUDIT_EVENT_HUB_NAME": "audit-events",
}


def test_each_pipeline_has_an_event_function_that_the_host_binds() -> None:
    """The timers and the routes exist once."""
    app = func.FunctionApp()
    app.register_functions(breakwater.blueprint(TWO))
    triggers = {
        str(each.get_function_name()): trigger.get_dict_repr()
        for each in app.get_functions()
        if (trigger := each.get_trigger())
    }
    events = [f"breakwater_process_events_{name}" for name in ("orders", "audit")]
    assert list(triggers) == [*events, *(f"breakwater_{name}" for name in NAMES[1:])]
    bound = [(triggers[name]["eventHubName"], triggers[name]["consumerGroup"]) for name in events]
    group = "%EVENT_HUB_CONSUMER_GROUP%"
    assert bound == [
        ("%EVENT_HUB_NAME%", group),
        ("%PIPELINE_AUDIT_EVENT_HUB_NAME%", group),
    ]


def test_only_declared_pipeline_has_its_name_in_its_function() -> None:
    assert names(breakwater.blueprint(SETTINGS | HANDLER | {"PIPELINES": "orders"}))[0] == (
        "breakwater_process_events_orders"
    )


@pytest.mark.parametrize(
    ("further", "without"),
    [
        ({"PIPELINES": "orders"}, "ORDERS"),
        ({"PIPELINE_ORDERS_EVENT_HANDLER": "json:load"}, "AUDIT"),
    ],
)
def test_declared_pipeline_without_a_handler_is_refused(
    further: dict[str, str], without: str
) -> None:
    """Otherwise the sample would finish its events."""
    settings = {name: value for name, value in TWO.items() if name not in HANDLER} | further
    if settings["PIPELINES"] == "orders":
        del settings["PIPELINE_AUDIT_EVENT_HUB_NAME"]
    message = f"pipeline {without.lower()}: EVENT_HANDLER is missing: set PIPELINE_{without}_EVENT"
    with pytest.raises(PipelineError, match=message):
        breakwater.blueprint(settings)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PIPELINE_AUDIT_EVENT_HANDLER", "json:load_it", r"pipeline audit: {} .*has no 'load_it'"),
        ("PIPELINE_AUDIT_PROCESSING_MAX_LANES", "0", "pipeline audit: {} is '0'"),
        ("PIPELINE_AUDIT_BREAKER_WINDOW_SECONDS", "abc", "pipeline audit: {} is 'abc'"),
        ("PIPELINE_AUDIT_PROCESSING_HOLD_SECONDS", "3599", "pipeline audit: {} is 3599, but"),
        ("PIPELINE_AUDTI_EVENT_HANDLER", "json:load", "{} is a setting of no pipeline"),
        (
            "PIPELINE_AUDIT_PROCESSING_WATCHDOG_SECONDS",
            "60",
            "WATCHDOG_SECONDS is 120 for orders, 60 for audit.*one value",
        ),
        ("PIPELINES", "orders,Audit", "names 'Audit'"),
    ],
)
def test_wrong_setting_of_a_pipeline_is_refused_with_its_name(
    name: str, value: str, message: str
) -> None:
    with pytest.raises((ConfigurationError, HandlerLoadError), match=message.format(name)):
        breakwater.blueprint(TWO | {name: value})


def test_second_reader_of_a_pipelines_hub_is_refused() -> None:
    app = func.FunctionApp()
    app.register_functions(breakwater.blueprint(TWO))
    second = SETTINGS | {"EVENT_HUB_NAME": "Audit-Events"}
    with pytest.raises(ValueError, match=r"hub 'audit-events' and the consumer group .* Register"):
        breakwater.blueprint(second, prefix="second_", route="second")


def test_pipelines_hub_other_than_the_hosts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_AUDIT_EVENT_HUB_NAME", "other")
    message = r"PIPELINE_AUDIT_EVENT_HUB_NAME is 'audit-events'.* is 'other'"
    with pytest.raises(SettingsError, match=message):
        breakwater.blueprint(TWO)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("EVENT_HUB_CONSUMER_GROUP", "", SettingsError),
        ("BREAKER_WINDOW_SECONDS", "abc", BreakerSettingsError),
    ],
)
def test_wrong_setting_is_refused_when_the_app_is_loaded(
    name: str, value: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match=name):
        breakwater.blueprint(SETTINGS | {name: value})


def test_hub_other_than_the_hosts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host puts the app setting of the environment into the trigger."""
    monkeypatch.setenv("EVENT_HUB_NAME", "orders")
    with pytest.raises(SettingsError, match=r"EVENT_HUB_NAME is 'events'.* is 'orders'"):
        breakwater.blueprint(SETTINGS)
    breakwater.blueprint(SETTINGS | {"EVENT_HUB_NAME": "orders"})


def test_settings_default_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    assert len(names(breakwater.blueprint())) == len(NAMES)
    monkeypatch.delenv("REDIS_URL")
    with pytest.raises(SettingsError, match="REDIS_URL is missing"):
        breakwater.blueprint()


INDEXED = f"""
import asyncio, json, os, sys
from pathlib import Path
sys.path[:0] = [{str(APP)!r}, {str(ROOT)!r}]
from scripts.load_app import SETTINGS, _functions
os.environ |= SETTINGS | {{"EVENT_HANDLER": "orders:handle"}}
print(json.dumps(asyncio.run(_functions(Path({str(APP)!r})))))
"""


def test_app_that_exists_is_indexed_by_microsofts_worker() -> None:
    """The worker reads the annotations of each function and refuses what it cannot bind."""
    done = subprocess.run(
        [sys.executable, "-c", INDEXED], capture_output=True, check=False, text=True, cwd=APP
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = {each["name"]: each for each in json.loads(done.stdout)}
    assert set(found) == {"order", *(f"breakwater_{name}" for name in NAMES)}
    (trigger,) = found["breakwater_process_events"]["bindings"]
    assert (trigger["cardinality"], trigger["dataType"]) == ("MANY", "BINARY")


async def test_blueprint_closes_its_application() -> None:
    """A program that uses the functions without a host can end them."""
    functions = breakwater.blueprint(SETTINGS)
    await functions.application.aclose()
    assert isinstance(functions.application, breakwater.Application)


def test_package_has_its_public_names_and_no_others() -> None:
    assert {name for name in dir(breakwater) if not name.startswith("_")} >= set(breakwater.__all__)
    assert sorted(breakwater.__all__) == breakwater.__all__
    assert all(getattr(breakwater, name).__doc__ for name in breakwater.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = breakwater.nothing  # type: ignore[attr-defined]


def test_import_of_the_package_loads_none_of_its_names() -> None:
    """An import of one name loads no more than that name needs."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import breakwater\n"
        "print(*(name for name in sys.modules if name.startswith(('processing', 'azure'))))\n"
        "from breakwater import Event\n"
        "print(*(name for name in sys.modules if name.startswith('azure')))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(ROOT)],
        capture_output=True,
        check=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.stdout.split() == []
