"""The cloud process with a real topic client, a real approvals server and real deliveries."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridEvent
from azure.eventgrid.aio import EventGridPublisherClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.services import ports
from local.services.cloud import SITE_PATH, cloud_service
from local.site import SiteState
from tests.support.processes import running_service

KEY = "topic-key"
TOKEN = "console-token"
SCALES = ("--grid-retry-scale", "0.002", "--workflow-retry-scale", "0.005")


@contextlib.asynccontextmanager
async def serving(app: Starlette, port: int) -> AsyncIterator[None]:
    """Serve an app on a real port in the test's loop."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none"))
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await task


@dataclass
class Approvals:
    """A fake console, which accepts and records requests for approval of an open circuit."""

    refusals: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/approvals", self._approvals, methods=["POST"]),
                Route("/api/circuits/breakwater", self._circuit),
            ]
        )

    async def _circuit(self, _: Request) -> Response:
        return JSONResponse({"state": "open", "generation": 1})

    async def _approvals(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Response(status_code=401)
        if self.refusals:
            self.refusals -= 1
            return Response(status_code=503)
        self.asked.append(await request.json())
        return JSONResponse({"status": "waiting"}, status_code=202)

    async def registered(self, count: int = 1) -> list[dict[str, Any]]:
        async with asyncio.timeout(60):
            while len(self.asked) < count:
                await asyncio.sleep(0.03)
        return self.asked


@dataclass
class Cloud:
    """A running cloud process."""

    url: str
    state_dir: Path
    console_port: int
    port: int

    @property
    def topic(self) -> str:
        return f"{self.url}/topics/breakwater"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        service = cloud_service(
            self.port,
            self.state_dir,
            topic_key=KEY,
            console_url=f"http://127.0.0.1:{self.console_port}",
            console_token=TOKEN,
            arguments=SCALES,
        )
        with running_service(service, self.state_dir):
            yield

    async def publish(self, *events: CloudEvent[Any], key: str = KEY) -> None:
        credential = AzureKeyCredential(key)
        async with EventGridPublisherClient(f"{self.topic}/api/events", credential) as client:
            await client.send(list(events))

    async def runs(self) -> list[dict[str, Any]]:
        async with httpx.AsyncClient() as client:
            runs: list[dict[str, Any]] = (await client.get(f"{self.url}/workflows/runs")).json()[
                "runs"
            ]
        return runs

    async def events(self) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(headers={"aeg-sas-key": KEY}) as client:
            events: list[dict[str, Any]] = (await client.get(f"{self.topic}/events")).json()[
                "events"
            ]
        return events

    async def subscribe(self, **subscription: Any) -> httpx.Response:
        async with httpx.AsyncClient(headers={"aeg-sas-key": KEY}) as client:
            return await client.post(f"{self.topic}/subscriptions", json=subscription)

    async def run_reaches(self, state: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while not (runs := await self.runs()) or runs[-1]["state"] != state:
                await asyncio.sleep(0.03)
        return runs[-1]

    def site(self) -> str:
        return SiteState(self.state_dir).read()


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    port, console_port = ports.free_port(), ports.free_port()
    return Cloud(f"http://127.0.0.1:{port}", tmp_path, console_port, port)


@pytest.fixture
def running_cloud(cloud: Cloud) -> Iterator[Cloud]:
    with cloud.running():
        yield cloud


def opened(generation: int = 1) -> CloudEvent[dict[str, Any]]:
    return CloudEvent(
        source="/breakwater",
        type="breakwater.circuit.opened",
        id=f"breakwater:{generation}:opened",
        data={"name": "breakwater", "generation": generation},
    )


async def waits(cloud: Cloud) -> None:
    """Wait until the run waits for its callback."""
    async with asyncio.timeout(60):
        while "waiting for the callback" not in [
            step["detail"] for run in await cloud.runs() for step in run["steps"]
        ]:
            await asyncio.sleep(0.03)


async def test_from_the_alert_to_the_restart(running_cloud: Cloud) -> None:
    """The console is down and then returns 503; the workflow retries until it accepts."""
    cloud, approvals = running_cloud, Approvals(refusals=2)
    await cloud.publish(opened())
    await cloud.run_reaches("WaitingForApproval")
    assert cloud.site() == "Stopped"
    async with serving(approvals.app(), cloud.console_port):
        [request] = await approvals.registered()
        await waits(cloud)
        assert (request["circuit"], request["generation"]) == ("breakwater", 1)
        assert request["callbackUrl"].startswith(f"{cloud.url}/workflows/runs/")
        async with httpx.AsyncClient() as client:
            forged = request["callbackUrl"].rpartition("=")[0] + "=forged"
            assert (await client.post(forged)).status_code == 401
            assert cloud.site() == "Stopped"
            answer = await client.post(request["callbackUrl"], json={"by": "alice"})
            assert answer.status_code == 200
            run = await cloud.run_reaches("Succeeded")
            answer = await client.post(request["callbackUrl"], json={"by": "bob"})
            assert answer.status_code == 404
    assert cloud.site() == "Running"
    [approval] = [step for step in run["steps"] if step["name"] == "Wait_for_decision"]
    assert (approval["detail"], approval["status"]) == ("by alice", "Succeeded")
    async with httpx.AsyncClient(params={"api-version": "2025-03-01"}) as client:
        history = (await client.get(f"{cloud.url}{SITE_PATH}/history")).json()["value"]
    assert [entry["operation"] for entry in history] == ["stop", "start"]


async def test_each_delivery_starts_a_run(running_cloud: Cloud) -> None:
    """A Logic App has no memory of earlier runs; each run asks the console what to do."""
    approvals = Approvals()
    async with serving(approvals.app(), running_cloud.console_port):
        await running_cloud.publish(opened(), opened())
        first, second = await approvals.registered(2)
    assert first["callbackUrl"] != second["callbackUrl"]
    assert len(await running_cloud.runs()) == 2


async def test_a_run_survives_its_process(cloud: Cloud) -> None:
    approvals = Approvals()
    async with serving(approvals.app(), cloud.console_port):
        with cloud.running():
            await cloud.publish(opened())
            await approvals.registered()
            await waits(cloud)
        with cloud.running():
            async with httpx.AsyncClient() as client:
                answer = await client.post(approvals.asked[0]["callbackUrl"])
            assert answer.status_code == 200
            await cloud.run_reaches("Succeeded")
            assert cloud.site() == "Running"


async def test_a_passed_opening_changes_nothing(running_cloud: Cloud) -> None:
    async with serving(Approvals().app(), running_cloud.console_port):
        await running_cloud.publish(opened(3))
        await running_cloud.run_reaches("Cancelled")
    assert running_cloud.site() == "Running"


async def test_other_events_start_no_run(running_cloud: Cloud) -> None:
    closed = CloudEvent(source="/b", type="breakwater.circuit.closed", data={"generation": 1})
    await running_cloud.publish(closed)
    assert (await running_cloud.events())[0]["deliveries"] == []
    assert await running_cloud.runs() == []


async def test_a_stock_publisher_with_a_wrong_key_is_refused(running_cloud: Cloud) -> None:
    with pytest.raises(ClientAuthenticationError, match="not valid for topic breakwater"):
        await running_cloud.publish(opened(), key="wrong")


async def test_a_stock_publisher_may_use_event_grids_own_schema(running_cloud: Cloud) -> None:
    event = EventGridEvent("subject", "kind", {"n": 1}, "1.0")
    credential = AzureKeyCredential(KEY)
    endpoint = f"{running_cloud.topic}/api/events"
    async with EventGridPublisherClient(endpoint, credential) as client:
        await client.send([event])
    [recorded] = await running_cloud.events()
    assert (recorded["type"], recorded["data"]) == ("kind", {"n": 1})


async def test_a_webhook_is_validated_retried_and_reported(running_cloud: Cloud) -> None:
    received: list[Any] = []

    async def hook(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(headers={"webhook-allowed-origin": "eventgrid.azure.net"})
        received.append(json.loads(await request.body()))
        return Response(status_code=500 if len(received) < 3 else 202)

    app = Starlette(routes=[Route("/hook", hook, methods=["OPTIONS", "POST"])])
    port = ports.free_port()
    wanted = {
        "name": "hook",
        "endpoint": f"http://127.0.0.1:{port}/hook",
        "event_types": ["breakwater.circuit.closed"],
    }
    refused = await running_cloud.subscribe(**wanted)
    assert refused.status_code == 400
    assert "did not answer" in refused.json()["error"]["message"]
    async with serving(app, port):
        assert (await running_cloud.subscribe(**wanted)).status_code == 201
        closed = CloudEvent(source="/b", type="breakwater.circuit.closed", id="c", data="x")
        await running_cloud.publish(closed)
        async with asyncio.timeout(60):
            while len(received) < 3:
                await asyncio.sleep(0.02)
            while (await running_cloud.events())[0]["deliveries"][0]["status"] == "pending":
                await asyncio.sleep(0.02)
    assert [event["id"] for event in received] == ["c"] * 3
    [delivery] = (await running_cloud.events())[0]["deliveries"]
    assert delivery == {
        "subscription": "hook",
        "status": "delivered",
        "attempts": 3,
        "last_result": "202",
    }


@pytest.mark.long
async def test_a_pending_delivery_survives_a_restart(cloud: Cloud) -> None:
    received: list[Any] = []
    status = 503

    async def hook(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(headers={"webhook-allowed-origin": "*"})
        received.append(json.loads(await request.body())["id"])
        return Response(status_code=status)

    app = Starlette(routes=[Route("/hook", hook, methods=["OPTIONS", "POST"])])
    port = ports.free_port()
    async with serving(app, port), asyncio.timeout(60):
        with cloud.running():
            endpoint = f"http://127.0.0.1:{port}/hook"
            assert (await cloud.subscribe(name="hook", endpoint=endpoint)).status_code == 201
            await cloud.publish(CloudEvent(source="/b", type="made", id="e", data=1))
            while not received:
                await asyncio.sleep(0.02)
        status = 200
        with cloud.running():
            while not (events := await cloud.events()) or (
                events[0]["deliveries"][0]["status"] == "pending"
            ):
                await asyncio.sleep(0.02)
    assert events[0]["deliveries"][0]["status"] == "delivered"
    assert set(received) == {"e"}
