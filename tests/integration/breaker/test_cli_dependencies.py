"""The operator's command line with `--dependency`, run as a process on a real Redis."""

from __future__ import annotations

import json

import pytest

from breaker import (
    BreakerSettings,
    DependencyCircuits,
    DependencySettings,
    Mode,
    Permit,
    RedisDependencyStore,
)
from breaker.dependencies.settings import Overrides
from breaker.stores.redis import connect
from tests.integration.breaker.test_cli import cli, open_it, poll
from tests.support.patience import STORE_SECONDS

BANK = ("--dependency", "bank")


@pytest.fixture
async def used(redis_url: str) -> str:
    """Open the bank's circuit, use the mail's, and return the address of Redis."""
    await poll(redis_url, failure_threshold=1)
    settings = BreakerSettings(name="c", failure_threshold=1)
    client = connect(redis_url, settings)
    store = RedisDependencyStore(client, "c", timeout_seconds=STORE_SECONDS)
    overrides = {"MAIL": Overrides(mode=Mode.OBSERVE)}
    async with DependencyCircuits(store, DependencySettings(settings, overrides)) as circuits:
        await circuits.use("mail")
        bank = await circuits.use("bank")
        assert bank is not None
        await bank.record_failure("a", "boom", Permit(0))
    await client.aclose()
    return redis_url


async def test_status_lists_the_dependencies(used: str) -> None:
    """The app's circuit comes first; the mode is that of each circuit."""
    settings = {"REDIS_URL": used, "DEPENDENCY_BANK_MODE": "observe"}  # not the app's settings
    code, out, _ = await cli("status", **settings)
    assert (code, "state      closed (generation 0)" in out) == (0, True)
    first, second = out.splitlines()[-2:]
    assert first.startswith("  bank open (generation 1) since 20")
    assert first.endswith("1 failures within 30 s (threshold 1); last error: boom")
    assert second == "  mail closed (generation 0, mode observe) since -: -"
    _, out, _ = await cli("status", "--json", **settings)
    shown = json.loads(out)
    assert (shown["name"], shown["state"], shown["recovery"]) == ("c", "closed", "manual")
    assert [(row["dependency"], row["name"], row["state"]) for row in shown["dependencies"]] == [
        ("bank", "c/bank", "open"),
        ("mail", "c/mail", "closed"),
    ]


async def test_commands_change_only_the_circuit_of_the_dependency(used: str) -> None:
    """Capitals make no difference; the app's own circuit keeps its state and its history."""
    await open_it(used)
    _, out, _ = await cli("status", "--dependency", "Bank", REDIS_URL=used)
    assert "circuit    c/bank" in out
    assert "next state half-open in " in out
    act = ("--generation", "1", "--by", "ann")
    code, out, err = await cli("approve", *BANK, *act, REDIS_URL=used)
    assert (code, err) == (0, "")
    assert "c/bank: half_open, generation 1" in out
    code, out, _ = await cli("close", *BANK, *act, REDIS_URL=used)
    assert (code, "c/bank: closed" in out) == (0, True)
    isolation = ("--reason", "release", "--for", "2h", "--by", "ann")
    _, out, _ = await cli("isolate", *BANK, *isolation, REDIS_URL=used)
    assert "c/bank: isolated, generation 2" in out
    assert "`close --dependency bank --generation 2` ends the isolation earlier" in out
    _, out, _ = await cli("history", *BANK, "--json", REDIS_URL=used)
    events = [json.loads(line)["event"] for line in out.splitlines()]
    assert events == ["opened", "approved", "half_opened", "closed", "isolated"]
    _, out, _ = await cli("history", "--json", REDIS_URL=used)
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["opened"]


@pytest.mark.parametrize("command", ["status", "history", "isolate"])
async def test_unknown_dependency_is_refused(used: str, command: str) -> None:
    """An operator who mistypes the name must not believe that something is isolated."""
    arguments = ["--reason", "x"] if command == "isolate" else []
    code, out, err = await cli(command, "--dependency", "bnak", *arguments, REDIS_URL=used)
    assert (code, out) == (1, "")
    assert err == (
        "breakwater: no instance has used the dependency 'bnak' in the last 30 days; "
        "known dependencies: bank, mail; did you mean bank?\n"
    )
