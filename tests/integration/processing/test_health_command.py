"""`breakwater health` on a real hub, Redis and storage: what it finds without an instance."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from breaker import BreakerSettings, CircuitBreaker, Permit, RedisCircuitStore
from breakwater.__main__ import main
from local.event_hubs import EventHubsServer, HubConfig, NamespaceConfig
from local.services.ports import free_port
from processing.monitoring.redis_vitals import RedisVitals
from processing.wiring import Wiring
from tests.support.arm import Arm
from tests.support.event_hubs.client_helpers import HUB, append
from tests.support.patience import STORE_SECONDS
from tests.support.refusing_redis import running_refusing


@dataclass
class Operator:
    """A terminal with the settings of an app, which an instance polls in this process."""

    values: dict[str, str]
    app: CircuitBreaker
    wiring: Wiring
    arm: Arm
    hub: EventHubsServer
    directory: Path
    capsys: pytest.CaptureFixture[str]

    async def health(self, *arguments: str, **values: str) -> tuple[int, str, str]:
        """Run the command; return its exit code, output and errors."""
        file = self.directory / "local.settings.json"
        file.write_text(json.dumps({"Values": self.values | values}))
        line = ["health", "--settings", str(file), *arguments]
        code = await asyncio.to_thread(main, line)
        out, err = self.capsys.readouterr()
        return code, out, err

    async def document(self, code: int = 0) -> dict[str, Any]:
        found, out, err = await self.health("--json")
        assert (found, err) == (code, "")
        shown: dict[str, Any] = json.loads(out)
        return shown


@pytest.fixture
async def operator(
    redis_url: str, azurite: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Operator]:
    async with (
        AsyncExitStack() as opened,
        EventHubsServer(NamespaceConfig((HubConfig(HUB, 2),)), control_port=0) as server,
        Arm().running() as arm,
    ):
        rules = BreakerSettings(name="c", failure_threshold=3)
        store = RedisCircuitStore(redis_url, "c", timeout_seconds=STORE_SECONDS)
        app = CircuitBreaker(store, rules, instance="app:1")
        await opened.enter_async_context(app)
        values = {
            "REDIS_URL": redis_url,
            "BREAKER_NAME": "c",
            "BREAKER_STORE_TIMEOUT_SECONDS": f"{STORE_SECONDS}",
            "AzureWebJobsStorage": azurite,
            "EventHubConnection": server.connection_string,
            "EVENT_HUB_NAME": HUB,
            "FUNCTION_APP_URL": arm.url,
        }
        wiring = Wiring(values, opened)
        await wiring.queue()
        yield Operator(values, app, wiring, arm, server, tmp_path, capsys)


async def test_healthy_app(operator: Operator) -> None:
    """The rules are those of the instances, not those of the terminal."""
    append(operator.hub, [b"e"] * 3)
    code, out, err = await operator.health(BREAKER_FAILURE_THRESHOLD="50")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "health     healthy (ok)"
    assert "failures   0 of 3 in 30 s" in lines
    assert any(line.startswith("instances  app:1 (version ") for line in lines)
    assert "events     lag 3 in 2 partitions; 0 parked; 0 deferred keys; 0 poison messages" in lines
    assert "  The local stack says: running (seen " in out
    assert "problems:" not in lines
    shown = await operator.document()
    assert (shown["is_healthy"], shown["status"], shown["problems"]) == (True, "ok", [])
    assert (shown["instances"], shown["poison"]) == (["app:1"], 0)
    assert shown["app"][0]["topic"] == "app"


async def test_open_circuit_and_stopped_app_are_not_healthy(operator: Operator) -> None:
    for event in ("a", "b", "c"):
        await operator.app.record_failure(event, "boom", Permit(0))
    operator.arm.state = "Stopped"
    code, out, _ = await operator.health()
    assert code == 3
    assert out.startswith("health     not healthy (holding)\n")
    assert "\nproblems:\n  the circuit is open: 3 failures within 30 s (threshold 3)" in out
    assert "\n  the app is stopped\n" in out


async def test_status_agrees_with_the_problems(operator: Operator) -> None:
    """A monitor may read any of the fields that `/api/health` has, too."""
    operator.arm.state = "Stopped"
    shown = await operator.document(3)
    assert (shown["status"], shown["is_healthy"]) == ("stopped", False)
    assert shown["problems"] == ["the app is stopped"]
    operator.arm.state = "Running"
    wiring = operator.wiring
    await RedisVitals(wiring.redis, "c", "app:1", wiring.app).write('{"problem": "crash loop"}')
    code, out, _ = await operator.health()
    assert (code, out.partition("\n")[0]) == (3, "health     not healthy (degraded)")


async def poll_earlier(url: str) -> None:
    """Poll the circuit `d` as an instance did a minute ago."""
    earlier = time.time_ns() // 1000 - 60_000_000
    store = RedisCircuitStore(url, "d", timeout_seconds=STORE_SECONDS, now_us=lambda: earlier)
    async with CircuitBreaker(store, BreakerSettings(name="d"), instance="gone:1"):
        pass


async def test_redis_without_writes_does_not_hide_the_instances(
    operator: Operator, tmp_path: Path
) -> None:
    """Such a Redis notes no poll, so it does not show whether an instance polls."""
    with running_refusing(tmp_path) as full:
        await poll_earlier(full.url)
        full.refuse("OOM")
        code, out, _ = await operator.health(REDIS_URL=full.url, BREAKER_NAME="d")
    assert code == 3
    assert "\ninstances  not known, because Redis takes no writes; the last noted poll was" in out
    assert "no instance of the app polls its circuit" not in out


@pytest.mark.long
async def test_blobs_that_cannot_be_read_are_a_problem(operator: Operator) -> None:
    """Without them no host gets a lease, and no large body can be read."""
    storage = operator.values["AzureWebJobsStorage"]
    away = re.sub(r"(BlobEndpoint=http://[^:]+):\d+", rf"\1:{free_port()}", storage)
    code, out, _ = await operator.health(AzureWebJobsStorage=away)
    assert code == 3
    assert "\n  container azure-webjobs-eventhub: " in out
    assert "\n  poison blobs " in out


async def test_app_without_an_instance_is_not_healthy(operator: Operator) -> None:
    """The circuit of an app whose host has died stays closed, and would look healthy."""
    await poll_earlier(operator.values["REDIS_URL"])
    operator.values["BREAKER_NAME"] = "d"
    code, out, _ = await operator.health()
    assert code == 3
    assert "\nproblems:\n  no instance of the app polls its circuit\n" in out
    assert "instances  none polls the circuit; the last poll was" in out


async def test_problem_of_an_instance_is_shown(operator: Operator) -> None:
    """A crash loop stands only in the reports of the instance; a later report ends the problem."""
    wiring = operator.wiring
    for name, record in (
        ("app:1", '{"problem": "crash loop"}'),
        ("app:2", '{"problem": "crash loop"}'),
        ("app:2", '{"handled": 1}'),
    ):
        await RedisVitals(wiring.redis, "c", name, wiring.app).write(record)
    assert (await operator.document(3))["problems"] == ["app:1: crash loop"]


@pytest.mark.long
async def test_hub_that_does_not_answer_is_a_problem(operator: Operator) -> None:
    away = operator.values["EventHubConnection"].split(";", 1)[1]
    code, out, _ = await operator.health(
        EventHubConnection=f"Endpoint=sb://127.0.0.1:{free_port()};{away}"
    )
    assert code == 3
    assert out.startswith("health     not healthy (degraded)\n")
    assert "events     not known" in out


async def test_unknown_circuit_is_refused(operator: Operator) -> None:
    code, out, err = await operator.health(BREAKER_NAME="d")
    assert (code, out) == (1, "")
    assert "no instance has registered a circuit 'd' in this Redis; known circuits: c" in err


async def test_circuit_that_nobody_reads_is_a_problem(operator: Operator) -> None:
    """An isolation under a wrong name gives the circuit a state, but no event heeds it."""
    settings = BreakerSettings(name="d")
    store = RedisCircuitStore(operator.values["REDIS_URL"], "d", timeout_seconds=STORE_SECONDS)
    async with aclosing(CircuitBreaker(store, settings, registers=False)) as circuit:
        isolated = await circuit.isolate("ann")
        await circuit.close_circuit(isolated.generation, "ann")
    code, out, _ = await operator.health(BREAKER_NAME="d")
    assert code == 3
    assert "\nproblems:\n  no instance has registered the circuit " in out
    assert "\ninstances  none: no instance has registered the circuit " in out


async def test_redis_that_does_not_answer_is_a_problem(operator: Operator) -> None:
    """The answer has the same form as any other, for a monitor that reads it."""
    operator.values["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    shown = await operator.document(3)
    assert (shown["status"], shown["is_healthy"]) == ("degraded", False)
    assert "Redis" in shown["problems"][0]
    _, out, _ = await operator.health()
    assert out.startswith("health     not healthy (degraded)\n\nproblems:\n  ")


async def test_missing_setting_is_refused(operator: Operator) -> None:
    code, _, err = await operator.health(EVENT_HUB_NAME="")
    assert code == 2
    assert "EVENT_HUB_NAME" in err
