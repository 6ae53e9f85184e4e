"""A console of two pipelines: each action, message and lease belongs to one of them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from websockets.asyncio.client import connect

from breaker import CircuitState
from breaker.configuration.errors import ConfigurationError
from console.app import create_console
from console.backplane.coordination import MemoryCoordination
from console.composition import compose
from console.live.presence import PAGE, Presence
from console.rewind.api import REWIND
from console.settings import ConsoleSettings
from processing.site.client import Site
from processing.site.settings import SiteSettings
from scripts.load_app import SETTINGS
from tests.support.arm import Arm
from tests.support.console.pipelines import Lines
from tests.support.console.server import (
    BEARER,
    TOKEN,
    Served,
    close_code,
    next_items,
    next_message,
    resume,
    serving,
)
from tests.support.patience import HANG_SECONDS

CALLBACK = "http://127.0.0.1:1/callback"


async def test_action_on_one_pipeline_leaves_the_other() -> None:
    """Circuit and log of the other pipeline stay, and its prefix reaches no foreign circuit."""
    lines = Lines.of()
    async with lines.page() as client:
        await lines.orders.open()
        await lines.audit.open()
        wrong = await client.post(
            "/pipelines/audit/api/circuits/c-orders/approve", json={"generation": 1}
        )
        assert wrong.status_code == 404
        assert lines.orders.breaker.circuit.state is CircuitState.OPEN
        path = "/pipelines/orders/api/circuits/c-orders/approve"
        answer = await client.post(path, json={"generation": 1})
        assert (answer.status_code, answer.json()["state"]) == (200, "half_open")
        assert lines.audit.breaker.circuit.state is CircuitState.OPEN
        said = await client.post("/pipelines/audit/api/log", json={"text": "hello"})
        assert said.status_code == 201
    assert ["approved generation 1" in each for each in await lines.orders.lines()] == [True]
    assert ["hello" in each for each in await lines.audit.lines()] == [True]


@pytest.mark.parametrize("circuit", ["c-audit", "c-audit/bank"])
async def test_registration_finds_the_circuit_over_all_pipelines(circuit: str) -> None:
    """The workflow knows no pipeline: it sends the circuit's name from the alert."""
    lines = Lines.of()
    async with lines.page() as client:
        await lines.audit.open()
        bank = await lines.audit.dependencies.use("bank")
        assert bank is not None
        await bank.isolate("eve", "maintenance")
        body = {"circuit": circuit, "generation": 1, "callbackUrl": CALLBACK, "run": "r1"}
        answer = await client.post("/api/approvals", json=body)
        assert (answer.status_code, answer.json()["circuit"]) == (202, circuit)
        breaker = bank if "/" in circuit else lines.audit.breaker
        assert [run.run for run in (await breaker.approvals.status()).waiting] == ["r1"]
        assert (await lines.orders.breaker.approvals.status()).waiting == ()
        foreign = await client.post("/api/approvals", json=body | {"circuit": "c-other"})
        assert foreign.status_code == 404


@pytest.mark.parametrize("path", ["/api/approvals", "/api/approvals/steps"])
async def test_stop_by_the_workflow_is_on_record_in_each_pipeline(path: str) -> None:
    """All pipelines stop with the app, so the page of each says when and by whom."""
    lines = Lines.of(orders_stops_app=True)
    async with lines.page() as client:
        await lines.orders.open()
        stop = {"status": "Succeeded", "code": 200, "at": "2026-12-01T04:00:00Z"}
        body = {"circuit": "c-orders", "generation": 1, "run": "r1", "stop": stop}
        for _ in range(2):  # a run reports its steps again
            assert (await client.post(path, json=body | {"callbackUrl": CALLBACK})).is_success
        found = {
            line.name: [
                (each.generation, each.by)
                for each in await line.breaker.history()
                if each.event == "stop_accepted"
            ]
            for line in (lines.orders, lines.audit)
        }
        by = found["orders"][0][1]
        assert found == {"orders": [(1, by)], "audit": [(0, by)]}
        waiting = [(await each.breaker.approvals.status()).waiting for each in (lines.audit,)]
        assert waiting == [()]


async def test_circuit_is_found_by_its_name_without_a_prefix() -> None:
    """No two pipelines have one circuit; the action is on record in its own pipeline."""
    lines = Lines.of()
    async with lines.page() as client:
        await lines.audit.open()
        answer = await client.post("/api/circuits/c-audit/approve", json={"generation": 1})
        assert (answer.status_code, answer.json()["state"]) == (200, "half_open")
        assert (await client.get("/api/circuits/c-nowhere")).status_code == 404
    assert (len(await lines.audit.lines()), len(await lines.orders.lines())) == (1, 0)


@pytest.mark.parametrize("path", ["/api/poison", "/api/log", "/api/app/stop", "/api/rewind"])
async def test_path_without_a_pipeline_names_the_choices(path: str) -> None:
    """A request that names no pipeline never reaches one of them."""
    async with Lines.of().page() as client:
        answer = await client.post(path, json={"text": "x"})
        assert answer.status_code == 404
        assert answer.json()["error"] == (
            f"choose a pipeline: /pipelines/orders{path} or /pipelines/audit{path}"
        )
        unknown = await client.get(f"/pipelines/orderz{path}")
        assert unknown.status_code == 404
        assert "no pipeline 'orderz'; the console has orders, audit" in unknown.json()["error"]


async def test_only_declared_pipeline_keeps_the_plain_paths() -> None:
    """One pipeline needs no name, also when PIPELINES names it."""
    lines = Lines.of()
    own = ConsoleSettings(token=TOKEN)
    async with serving(create_console([lines.orders.parts], own), own) as served:
        api = await served.api()
        for prefix in ("", "/pipelines/orders"):
            assert (await api.get(f"{prefix}/api/circuits/c-orders")).status_code == 200
        found = (await api.get("/api/session")).json()["pipelines"]
        assert found == [{"name": "orders", "circuit": "c-orders"}]


def _live(served: Served, name: str) -> connect:
    path = f"/pipelines/{name}/live" if name else "/live"
    return connect(f"{served.url.replace('http', 'ws')}{path}", additional_headers=BEARER)


async def test_each_page_receives_the_list_of_pipelines() -> None:
    """The list shows another pipeline's opening; all other messages are of the chosen one."""
    lines = Lines.of(orders_stops_app=True)
    own = ConsoleSettings(token=TOKEN)
    async with serving(lines.console(own), own) as served, _live(served, "audit") as live:
        await resume(live)
        data: dict[str, Any] = (await next_message(live, "snapshot"))["data"]
        assert data["circuit"]["name"] == "c-audit"
        while len(data["pipelines"]) < 2:  # the first list follows the first snapshot
            data["pipelines"] = (await next_message(live, "pipelines"))["items"]
        assert [(each["name"], each["kind"], each["state"]) for each in data["pipelines"]] == [
            ("orders", "app", "closed"),
            ("audit", "pipeline", "closed"),
        ]
        await lines.orders.open()
        states: list[str] = []
        while "open" not in states:
            items = (await next_message(live, "pipelines"))["items"]
            states = [each["state"] for each in items]
        assert states == ["open", "closed"]
        assert (items[0]["generation"], items[0]["circuit"]) == (1, "c-orders")
        api = await served.api()
        listed = (await api.get("/api/pipelines")).json()["pipelines"]
        assert [each["state"] for each in listed] == ["open", "closed"]
        async with _live(served, "") as plain:
            assert await close_code(plain) == 4400


async def test_dependency_that_is_not_closed_is_in_the_list() -> None:
    """The operator sees in the list which pipeline an outage of a dependency concerns."""
    lines = Lines.of()
    async with lines.page() as client:
        bank = await lines.orders.dependencies.use("bank")
        assert bank is not None
        await bank.isolate("eve", "maintenance")
        found = (await client.get("/api/pipelines")).json()["pipelines"]
        assert [each["dependencies"] for each in found] == [
            [{"name": "bank", "state": "isolated"}],
            [],
        ]


async def test_numbers_of_the_list_are_those_of_each_pipeline() -> None:
    """They come from each pipeline's backplane; numbers that are old are unknown."""
    lines = Lines.of()
    own = ConsoleSettings(token=TOKEN)
    now = round(time.time() * 1000)
    async with serving(lines.console(own), own) as served:
        for line, at, lag in ((lines.orders, now, 4), (lines.audit, now - 60_000, 9)):
            async with _live(served, line.name) as live:
                await resume(live)
                await next_message(live, "snapshot")
                table = {"time": at, "rows": [{"lag": 3}, {"lag": None}, {"lag": lag}]}
                await line.backplane.publish([("partitions", table), ("log", {})])
                await next_items(live, "log", 1)  # this instance has read both messages
        rows = (await (await served.api()).get("/api/pipelines")).json()["pipelines"]
    assert [each["waiting"] for each in rows] == [7, None]


async def test_one_login_reaches_all_pipelines_and_one_logout_ends_it() -> None:
    """The session is the console's, not a pipeline's."""
    lines = Lines.of()
    async with lines.page() as client:
        session = (await client.get("/api/session")).json()
        assert [each["name"] for each in session["pipelines"]] == ["orders", "audit"]
        for name in ("orders", "audit"):
            path = f"/pipelines/{name}/api/circuits/c-{name}"
            assert (await client.get(path)).json()["name"] == f"c-{name}"
        cookies = dict(client.cookies)
        await client.post("/logout")
        client.cookies.update(cookies)
        for name in ("orders", "audit"):
            path = f"/pipelines/{name}/api/circuits/c-{name}"
            assert (await client.get(path)).status_code == 401


async def test_limit_of_connections_counts_all_pipelines() -> None:
    """The limit protects the instance, so that a second pipeline does not double it."""
    lines = Lines.of()
    own = ConsoleSettings(token=TOKEN, sockets_max=1)
    async with serving(lines.console(own), own) as served, _live(served, "orders") as first:
        await resume(first)
        await next_message(first, "snapshot")
        async with _live(served, "audit") as second:
            assert await close_code(second) == 4429


async def test_stop_is_refused_where_the_circuit_does_not_stop_the_app() -> None:
    """A stop would stop the other pipelines, too; a start of a stopped app is allowed."""

    async def sleep(_: float) -> None: ...

    async with Arm().running() as arm:
        site = Site(SiteSettings(arm.url, ""), _no_identity, sleep=sleep)
        lines = Lines.of(orders_stops_app=True, site=site)
        async with lines.page() as client:
            refused = await client.post("/pipelines/audit/api/app/stop", json={"reason": "r"})
            assert refused.status_code == 409
            assert "would stop all pipelines" in refused.json()["error"]
            assert arm.calls == []
            await lines.audit.open()
            shown = (await client.get("/pipelines/audit/api/app")).json()
            assert shown["stops_app"] is False
            assert "does not stop the app" in json.dumps(shown["lines"])
            stopped = await client.post("/pipelines/orders/api/app/stop", json={"reason": "r"})
            assert stopped.status_code == 200
            shown = (await client.get("/pipelines/audit/api/app")).json()
            assert "look at the other pipelines" in json.dumps(shown["lines"])
            assert (await client.post("/pipelines/audit/api/app/start", json={})).is_success
            for line in (lines.orders, lines.audit):  # both pipelines stop and start with the app
                events = [each.event for each in await line.breaker.history()]
                assert events[:2] == ["start_accepted", "stop_accepted"]
        await site.aclose()


async def test_only_one_rewind_runs_over_all_pipelines() -> None:
    """A rewind needs a stopped app, which another pipeline's rewind would start in between."""
    async with Arm().running() as arm:
        site = Site(SiteSettings(arm.url, ""), _no_identity)
        lines = Lines.of(site=site)
        async with lines.page() as client:
            assert await lines.shared.acquire(REWIND, "of audit", 60)
            plan = [{"partition": "0", "restart_at": 0, "warnings": []}]
            body = {"partition": "0", "to": "start", "plan": plan}
            answer = await client.post("/pipelines/orders/api/rewind", json=body)
            assert answer.status_code == 409
            assert "another rewind is running" in answer.json()["error"]
        await site.aclose()


async def test_page_of_one_pipeline_is_a_mark_for_all() -> None:
    """Each page lists all pipelines, so that each pipeline's reader reads its numbers."""
    own, shared = MemoryCoordination(), MemoryCoordination()
    presence = Presence(own, shared)
    announcing = asyncio.create_task(presence.announce())
    try:
        with presence.viewer():
            async with asyncio.timeout(HANG_SECONDS):
                while not (await own.holder(PAGE) and await shared.holder(PAGE)):
                    await asyncio.sleep(0)
    finally:
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)


def _no_identity() -> Any:
    raise AssertionError("the local stack takes no token")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STOPS_APP", "maybe"),
        ("POISON_QUEUE", "A_B"),
        ("PROCESSING_MAX_LANES", "0"),
        ("BREAKER_MODE", "x"),
        ("DEPENDENCY_BANK_RECOVERY", "x"),
    ],
)
def test_console_names_the_own_setting_of_a_pipeline_that_it_refuses(name: str, value: str) -> None:
    """`breakwater up` shows the same text."""
    variable = f"PIPELINE_AUDIT_{name}"
    values = SETTINGS | {"PIPELINES": "orders,audit", variable: value}
    values["PIPELINE_AUDIT_EVENT_HUB_NAME"] = "audit"
    message = f"^pipeline audit: (the app setting )?{variable} is '{value}'"
    with pytest.raises(ConfigurationError, match=message):
        compose(values, ConsoleSettings(token=TOKEN))
