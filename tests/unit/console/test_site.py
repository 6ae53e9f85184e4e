"""The app in the console: its stop and start by an operator, and what the reader publishes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore, Permit
from breaker.chain import Step, StepKind
from console.app import create_app
from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import MemoryBackplane, Message
from console.live.presence import PAGE
from console.live.snapshot import Snapshot
from console.reader.site import APP, SiteTask, pause_of
from console.settings import ConsoleSettings
from processing.site.client import Site
from processing.site.settings import SiteSettings
from processing.site.watch import SiteWatch
from tests.support.arm import Arm

TOKEN = "a-token-of-32-characters-for-test"


@dataclass
class Page:
    """Ann's page, with the app's management and the circuit of its console."""

    client: httpx.AsyncClient
    arm: Arm
    breaker: CircuitBreaker
    backplane: MemoryBackplane
    watch: SiteWatch

    async def post(self, act: str, **body: Any) -> httpx.Response:
        return await self.client.post(f"/api/app/{act}", json=body)

    async def lines(self) -> list[tuple[str, str, str]]:
        """Return kind, operator and text of each log line."""
        found = [json.loads(each.data) for each in await self.backplane.latest(100)]
        return [(line["kind"], line["by"], line["text"]) for line in found]

    async def history(self) -> list[tuple[str, str, str]]:
        """Return event, operator and reason of each change, newest first."""
        return [(each.event, each.by, each.reason) for each in await self.breaker.history()]


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    breaker = CircuitBreaker(
        MemoryCircuitStore("c"), BreakerSettings(name="c", failure_threshold=1)
    )
    backplane = MemoryBackplane(MemoryCoordination())

    async def sleep(_: float) -> None: ...

    async with Arm().running() as arm:
        site = Site(SiteSettings(arm.url, ""), _no_identity, sleep=sleep)
        watch = SiteWatch(breaker, site, None)
        app = create_app(breaker, ConsoleSettings(token=TOKEN), backplane=backplane, watch=watch)
        transport = httpx.ASGITransport(app)
        async with breaker, httpx.AsyncClient(transport=transport, base_url="http://c") as client:
            answer = await client.post("/login", json={"token": TOKEN, "name": "ann"})
            assert answer.status_code == 204
            csrf = (await client.get("/api/session")).json()["csrf"]
            client.headers.update({"Origin": "http://c", "X-CSRF-Token": csrf})
            yield Page(client, arm, breaker, backplane, watch)
        await site.aclose()


def _no_identity() -> Any:
    raise AssertionError("the local stack takes no token")


async def test_stop_and_start_are_on_record(page: Page) -> None:
    """The log and the circuit's history name the operator, and the page says what was seen."""
    answer = await page.post("stop", reason="deploying", by="eve")
    assert answer.status_code == 200
    assert answer.json() == {
        "accepted": True,
        "detail": "HTTP 200; deploying",
        "recorded": True,
        "released": 0,
        "holds": False,
    }
    stopped = (await page.client.get("/api/app")).json()
    assert (stopped["state"], stopped["stop_refusal"]) == (
        "Stopped",
        "The local stack says: stopped",
    )
    assert (await page.post("start")).status_code == 200
    started = (await page.client.get("/api/app")).json()
    assert (started["state"], started["start_refusal"]) == (
        "Running",
        "The local stack says: running",
    )
    assert any("Start asked at" in line["text"] for line in started["lines"])
    assert [call[:2] for call in page.arm.calls] == [
        *(("POST", "stop"), ("GET", ""), ("POST", "start"), ("GET", "")),
    ]
    assert await page.lines() == [
        ("stop", "ann", "asked to stop the app: deploying; accepted"),
        ("start", "ann", "asked to start the app; accepted"),
    ]
    assert await page.history() == [
        ("start_accepted", "ann", "HTTP 200"),
        ("stop_accepted", "ann", "HTTP 200; deploying"),
    ]


async def test_start_of_an_open_circuit_is_allowed(page: Page) -> None:
    """The app then holds all events, and the answer says so."""
    await page.breaker.record_failure("a", "boom", Permit(0))
    answer = await page.post("start")
    assert (answer.status_code, answer.json()["holds"]) == (200, True)


async def test_refused_start_says_what_to_do(page: Page) -> None:
    """The refusal is on record as well, and the page keeps saying so."""
    page.arm.start, page.arm.state = [403], "Stopped"
    answer = await page.post("start")
    assert answer.status_code == 502
    assert "lacks the role 'Breakwater stop and start'" in answer.json()["error"]
    ((kind, by, text),) = await page.lines()
    assert (kind, by) == ("refused", "ann")
    assert text.startswith("asked to start the app; HTTP 403")
    assert await page.history() == [("start_refused", "ann", "HTTP 403")]
    lines = [line["text"] for line in (await page.client.get("/api/app")).json()["lines"]]
    assert any("was refused: HTTP 403. Press Start." in line for line in lines)


async def test_actions_need_a_session_and_its_token(page: Page) -> None:
    """A page of another site cannot stop the app."""
    page.client.headers["Origin"] = "http://evil"
    assert (await page.post("stop")).status_code == 403
    del page.client.headers["X-CSRF-Token"]
    page.client.headers["Origin"] = "http://c"
    assert (await page.post("stop")).status_code == 403
    page.client.cookies.clear()
    assert (await page.post("stop")).status_code == 401
    assert (await page.client.get("/api/app")).status_code == 401
    assert page.arm.calls == []


async def test_missing_address_is_named() -> None:
    """Without FUNCTION_APP_URL the buttons are disabled, and the API refuses with the setting."""
    async with CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c")) as breaker:
        app = create_app(breaker, ConsoleSettings(token=TOKEN))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://c", headers=headers
        ) as client:
            for act in ("stop", "start"):
                answer = await client.post(f"/api/app/{act}", json={"by": "ann"})
                assert answer.status_code == 503
                assert "FUNCTION_APP_URL is not set" in answer.json()["error"]
            seen = (await client.get("/api/app")).json()
            assert seen["start_refusal"] == seen["stop_refusal"] == "FUNCTION_APP_URL is not set"
            assert (seen["configured"], seen["state"]) == (False, "")
            assert (await client.post("/api/app/stop", json={})).status_code == 400


async def test_link_survives_the_login(page: Page) -> None:
    """Only the link's two names are kept, so that the login leads nowhere else."""
    page.client.cookies.clear()
    query = "circuit=c%26x&generation=3&next=https://evil"
    answer = await page.client.get(f"/?{query}")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?circuit=c%26x&generation=3"
    assert (await page.client.get("/")).headers["location"] == "/login"


async def test_reader_publishes_what_is_seen(page: Page) -> None:
    """A change is published at once, and a snapshot has the last statement."""
    coordination = MemoryCoordination()
    await coordination.mark(PAGE, 60)
    published: asyncio.Queue[tuple[str, Mapping[str, Any]]] = asyncio.Queue()

    async def publish(kind: str, data: Mapping[str, Any]) -> None:
        published.put_nowait((kind, data))

    task = asyncio.create_task(SiteTask(coordination, page.watch).run(publish))
    try:
        async with asyncio.timeout(30):
            kind, data = await published.get()
            while data["state"] != "Running":
                kind, data = await published.get()
            page.arm.state = "Stopped"
            await page.watch.read_state()
            while data["state"] != "Stopped":
                kind, data = await published.get()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert kind == APP
    snapshot = Snapshot()
    snapshot.apply(Message("1-0", kind, json.dumps(data)))
    text = snapshot.encoded(cursor="1-0", instance="i", circuit="null", history="[]")
    assert json.loads(text)["data"]["app"] == data


async def test_state_is_read_more_often_after_a_step(page: Page) -> None:
    """Two calls a minute are enough while nothing happens."""
    assert pause_of(await page.watch.look()) == 30
    seen = await page.watch.look()
    await page.breaker.approvals.report(
        Step(StepKind.STOP, 0, True, "HTTP 200", seen.now, "workflow run 1")
    )
    assert pause_of(await page.watch.look()) == 5
