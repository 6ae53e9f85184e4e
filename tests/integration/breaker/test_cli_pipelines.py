"""The circuit's commands for an app with two pipelines, on a real Redis."""

from __future__ import annotations

import json

import pytest

from breaker import BreakerSettings, CircuitBreaker, Permit, RedisCircuitStore
from tests.integration.breaker.test_cli import cli
from tests.support.patience import STORE_SECONDS

NAMES = {"orders": "c-orders", "audit": "c-audit"}
TWO = {"PIPELINES": "orders,audit"}
ACCEPTED = "add --pipeline with one of orders, audit"


async def _open(redis_url: str, *names: str) -> None:
    """Open the circuits of pipelines, as instances of the app do."""
    for name in names:
        stops_app = name == "audit"
        rules = BreakerSettings(name=NAMES[name], failure_threshold=1, stops_app=stops_app)
        store = RedisCircuitStore(redis_url, NAMES[name], timeout_seconds=STORE_SECONDS)
        async with CircuitBreaker(store, rules, instance="app:1") as breaker:
            await breaker.record_failure("a", f"boom of {name}", Permit(0))


async def test_overviews_show_all_pipelines(redis_url: str) -> None:
    await _open(redis_url, "orders", "audit")
    code, out, err = await cli("status", REDIS_URL=redis_url, **TWO)
    assert (code, err) == (0, "")
    orders, audit = out.split("\n\n")
    assert orders.startswith("Pipeline orders\ncircuit    c-orders\n")
    assert audit.startswith("Pipeline audit\ncircuit    c-audit\n")
    assert "boom of orders" in orders
    assert "boom of audit" in audit
    assert (
        "scope      one pipeline: an opening holds its events, and does not stop the app\n"
        in orders
    )
    assert "scope      the app: an opening stops the app, with all its pipelines\n" in audit
    code, out, _ = await cli("status", "--json", REDIS_URL=redis_url, **TWO)
    assert code == 0
    found = json.loads(out)["pipelines"]
    assert {name: each["name"] for name, each in found.items()} == NAMES
    stops = {"orders": False, "audit": True}
    assert {name: each["stops_app"] for name, each in found.items()} == stops
    code, out, _ = await cli("history", "--json", REDIS_URL=redis_url, **TWO)
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["pipeline"] for line in lines} == {"orders", "audit"}


@pytest.mark.parametrize("stops_app", [True, False])
async def test_circuit_that_never_opened_says_whether_it_stops_the_app(
    redis_url: str, stops_app: bool
) -> None:
    """The settings of the app's instances decide, not those of the terminal."""
    rules = BreakerSettings(name="c-audit", stops_app=stops_app)
    store = RedisCircuitStore(redis_url, "c-audit", timeout_seconds=STORE_SECONDS)
    async with CircuitBreaker(store, rules, instance="app:1"):
        pass
    named = ("status", "--pipeline", "audit")
    _, out, _ = await cli(*named, "--json", REDIS_URL=redis_url, **TWO)
    assert json.loads(out)["stops_app"] is stops_app
    _, out, _ = await cli(*named, REDIS_URL=redis_url, **TWO)
    scope = "the app: an opening stops the app" if stops_app else "one pipeline: an opening holds"
    assert f"scope      {scope}" in out


async def test_opening_that_stopped_the_app_is_shown_as_such(redis_url: str) -> None:
    """The settings may have changed since the opening."""
    for stops_app in (True, False):
        rules = BreakerSettings(name="c-audit", failure_threshold=1, stops_app=stops_app)
        store = RedisCircuitStore(redis_url, "c-audit", timeout_seconds=STORE_SECONDS)
        async with CircuitBreaker(store, rules, instance="app:1") as breaker:
            await breaker.record_failure("a", "boom", Permit(0))
    _, out, _ = await cli("status", "--pipeline", "audit", REDIS_URL=redis_url, **TWO)
    assert "scope      the app: an opening stops the app, with all its pipelines\n" in out


async def test_named_pipeline_is_shown_as_an_app_with_one(redis_url: str) -> None:
    await _open(redis_url, "audit")
    named = ("--pipeline", "audit")
    code, out, _ = await cli("status", *named, "--json", REDIS_URL=redis_url, **TWO)
    assert (code, json.loads(out)["name"]) == (0, "c-audit")
    code, out, _ = await cli("status", *named, REDIS_URL=redis_url, **TWO)
    assert out.startswith("circuit    c-audit\n")


async def test_unknown_circuit_of_one_pipeline_does_not_hide_the_other(redis_url: str) -> None:
    await _open(redis_url, "audit")
    code, out, err = await cli("status", "--json", REDIS_URL=redis_url, **TWO)
    assert code == 1
    found = json.loads(out)["pipelines"]
    assert (found["orders"], found["audit"]["state"]) == (None, "open")
    assert err.startswith("breakwater: pipeline orders: no instance")


async def test_change_of_one_circuit_leaves_the_other(redis_url: str) -> None:
    """Each command that changes a circuit needs the pipeline's name, and changes only that one."""
    await _open(redis_url, "orders", "audit")
    changes = (
        ("approve", "--generation", "1"),
        ("isolate", "--reason", "r", "--yes"),
        ("close", "--generation", "2"),
    )
    for change in changes:
        code, out, err = await cli(*change, REDIS_URL=redis_url, **TWO)
        assert (code, out) == (2, "")
        assert ACCEPTED in err
        code, _, err = await cli(*change, "--pipeline", "orders", REDIS_URL=redis_url, **TWO)
        assert (code, err) == (0, "")
    _, out, _ = await cli("status", "--json", REDIS_URL=redis_url, **TWO)
    states = {name: each["state"] for name, each in json.loads(out)["pipelines"].items()}
    assert states == {"orders": "closed", "audit": "open"}
    code, _, err = await cli(
        *("approve", "--generation", "9", "--pipeline", "audit"), REDIS_URL=redis_url, **TWO
    )
    assert code == 1
    assert err.startswith("breakwater: pipeline audit: ")


async def test_shown_commands_have_the_option(redis_url: str) -> None:
    """An operator can copy the command that ends an isolation."""
    await _open(redis_url, "orders")
    named = ("--pipeline", "orders")
    _, out, _ = await cli(
        *("isolate", "--reason", "r", "--yes", *named), REDIS_URL=redis_url, **TWO
    )
    ends = "`close --pipeline orders --generation 2` ends the isolation"
    assert ends in out
    _, out, _ = await cli("status", *named, REDIS_URL=redis_url, **TWO)
    assert ends in out


async def test_dependency_of_several_pipelines_needs_one_of_them(redis_url: str) -> None:
    for command in ("status", "history"):
        code, _, err = await cli(command, "--dependency", "bank", REDIS_URL=redis_url, **TWO)
        assert code == 2
        assert f"--dependency is for one of them: {ACCEPTED}" in err
