"""`breakwater stop` over a real Redis: what it prints, records and refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from breaker import BreakerSettings, CircuitBreaker, CircuitState, HistoryEntry, Permit
from breaker.chain import WaitsFor
from breaker.notes import Report
from breaker.stores.redis import RedisCircuitStore
from local.services.ports import free_port
from processing.__main__ import main
from processing.monitoring.redis_vitals import RedisVitals
from tests.support.arm import Arm


@dataclass
class Shell:
    """A terminal whose settings name an app and its circuit."""

    arm: Arm
    values: dict[str, str]
    directory: Path
    capsys: pytest.CaptureFixture[str]

    async def run(self, *arguments: str, **values: str) -> tuple[int, str, str]:
        """Run a command; return its exit code, output and errors."""
        file = self.directory / "local.settings.json"
        await asyncio.to_thread(file.write_text, json.dumps({"Values": self.values | values}))
        line = ["app", *arguments, "--settings", str(file)]
        code = await asyncio.to_thread(main, line)
        out, err = self.capsys.readouterr()
        return code, out, err

    def breaker(self) -> CircuitBreaker:
        settings = BreakerSettings.from_mapping(self.values)
        store = RedisCircuitStore.from_settings(self.values["REDIS_URL"], settings)
        return CircuitBreaker(store, settings)

    async def history(self) -> list[HistoryEntry]:
        async with self.breaker() as breaker:
            return await breaker.history()


@pytest.fixture
async def shell(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Shell]:
    async with Arm().running() as arm:
        values = {
            "REDIS_URL": redis_url,
            "BREAKER_NAME": "c",
            "BREAKER_FAILURE_THRESHOLD": "1",
            "FUNCTION_APP_URL": arm.url,
        }
        yield Shell(arm, values, tmp_path, capsys)


async def test_stop_and_start_are_on_record(shell: Shell) -> None:
    """The history names the operator, the reason and the answer."""
    code, out, err = await shell.run("stop", "--by", "ada", "--reason", "deploying")
    assert (code, err) == (0, "")
    assert out.startswith("Stop asked, accepted (HTTP 200; deploying).\n")
    assert shell.arm.state == "Stopped"
    code, out, _ = await shell.run("status")
    assert code == 0
    assert "The local stack says: stopped (seen " in out
    assert "UTC by ada, accepted.\n" in out
    code, out, err = await shell.run("start", "--by", "ada", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "kind": "start",
        "accepted": True,
        "detail": "HTTP 200",
        "error": None,
        "recorded": True,
        "released": 0,
        "circuit_state": "closed",
    }
    found = [(each.event, each.by, each.reason) for each in await shell.history()]
    assert found == [
        ("start_accepted", "ada", "HTTP 200"),
        ("stop_accepted", "ada", "HTTP 200; deploying"),
    ]


async def test_start_of_an_open_circuit_releases_the_waiting_run(shell: Shell) -> None:
    """The command says that the circuit holds all events."""
    async with shell.breaker() as breaker:
        await breaker.record_failure("a", "boom", Permit(0))
        callback = f"http://127.0.0.1:{free_port()}/callback"
        await breaker.approvals.register(1, callback, run="0859", waits_for=WaitsFor.START)
    code, out, err = await shell.run("start", "--by", "ada")
    assert (code, err) == (0, "")
    assert "The circuit is open (generation 1): the app holds all events." in out
    assert "Workflow runs that waited for a start and are called back: 1" in out
    assert (await shell.history())[0].event == "start_accepted"


async def test_status_names_instances_and_the_first_handled_event(shell: Shell) -> None:
    """The reports come from the vitals that the instances write."""
    assert (await shell.run("start", "--by", "ada"))[0] == 0
    async with Redis.from_url(shell.values["REDIS_URL"]) as client:
        await RedisVitals(client, "c", "host:1").write('{"handled": 3}')
    code, out, _ = await shell.run("status", "--json")
    assert code == 0
    seen = json.loads(out)
    assert (seen["app_state"], seen["circuit_state"]) == ("Running", "closed")
    texts = [line["text"] for line in seen["lines"]]
    assert texts[1] == "1 instance reports: host:1."
    assert "accepted; the instances report the first event handled at " in texts[2]


async def test_refusal_is_printed_and_recorded(shell: Shell) -> None:
    shell.arm.stop = [403]
    code, out, err = await shell.run("stop", "--by", "ada")
    assert (code, out) == (1, "")
    assert err.startswith(
        "breakwater: HTTP 403: the local stack refused: the identity lacks the role"
    )
    assert [each.event for each in await shell.history()] == ["stop_refused"]
    assert "was refused: HTTP 403. The app still runs" in (await shell.run("status"))[1]


async def test_start_works_without_redis(shell: Shell) -> None:
    """The operator learns that the start is not on record."""
    away = f"redis://127.0.0.1:{free_port()}/0"
    quick = {"BREAKER_STORE_TIMEOUT_SECONDS": "0.2", "REDIS_URL": away}
    shell.arm.state = "Stopped"
    code, out, err = await shell.run("start", "--by", "ada", **quick)
    assert code == 0
    assert out.startswith("Start asked, accepted (HTTP 200).")
    assert "the start is not on record in the circuit's history: " in err
    assert shell.arm.state == "Running"
    code, out, _ = await shell.run("status", **quick)
    assert code == 1
    assert "The local stack says: running (seen " in out
    assert "! Redis does not answer, so stops, starts and waiting runs are not known." in out


@pytest.mark.parametrize("url", ["", "https://func-x.azurewebsites.net"])
async def test_unusable_address_is_named(shell: Shell, url: str) -> None:
    code, out, err = await shell.run("start", FUNCTION_APP_URL=url)
    assert (code, out) == (2, "")
    assert "FUNCTION_APP_URL is" in err
    assert "it takes https://management.azure.com/subscriptions/" in err


async def test_status_without_an_address_says_so(shell: Shell) -> None:
    """The circuit's record is still of use."""
    code, out, _ = await shell.run("status", FUNCTION_APP_URL="")
    assert code == 0
    assert "The app's state is not read, because FUNCTION_APP_URL is not set." in out
    seen: dict[str, Any] = json.loads((await shell.run("status", "--json", FUNCTION_APP_URL=""))[1])
    assert (seen["app_state"], seen["seen_at"]) == (None, None)


async def test_status_opens_no_circuit(shell: Shell) -> None:
    """A terminal may have other settings than the app, so it judges no standstill."""
    store = RedisCircuitStore(shell.values["REDIS_URL"], "c")
    judges = BreakerSettings(name="c").rules("app:1")
    silent = BreakerSettings(name="c", standstill_failures=0).rules("app:1")
    await store.report(silent, Report("1", succeeded=True, success_age=400.0))
    failed = Report(
        "2", failed_attempts=12, attempts_age=390.0, keys=("a", "b"), running=("a", "b")
    )
    await store.report(silent, failed)
    seen = json.loads((await shell.run("status", "--json"))[1])
    assert seen["circuit_state"] == "closed"
    assert (await store.snapshot(judges)).circuit.state is CircuitState.OPEN
    await store.aclose()
