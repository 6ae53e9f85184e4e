"""The operator on real Redis and with a workflow over HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from loadtest.errors import OperatorError, StackError
from loadtest.faults.outage import end_outage
from loadtest.observe.observer import Observer
from loadtest.operator import Approve, HumanApprover, Operator, approve_with
from loadtest.plan.settings import ApproveWith
from loadtest.target.endpoints import Endpoints
from loadtest.target.keys import Keys
from loadtest.target.operations import workflow_stops
from loadtest.verify.circuit_check import OPENED_ALERT
from loadtest.verify.collector import read_alerts, read_all_alerts
from tests.support.patience import HANG_SECONDS

KEYS = Keys("run-1", "breakwater", ("a", "b"))


class Cloud:
    """A server with the cloud's workflow and management routes."""

    def __init__(self) -> None:
        cloud = self
        self.runs: list[dict[str, Any]] = []
        self.posts: list[tuple[str, dict[str, Any], str | None]] = []
        self.site: dict[str, Any] = {"state": "Stopped", "instances": 2}
        self.alerts: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                routes: dict[str, object] = {
                    "/workflows/runs": {"runs": cloud.runs},
                    "/topic/events": {"events": cloud.alerts},
                    "/site?api-version=2025-03-01": {"properties": cloud.site},
                }
                self._answer(routes[self.path])

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                cloud.posts.append((self.path, body, self.headers["authorization"]))
                self._answer({"error": "no"}, 409 if body["generation"] == 9 else 200)

            def _answer(self, document: object, status: int = 200) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def run(self, generation: int, *states: str) -> None:
        """Replace the runs by runs of one generation, oldest first."""
        stop = {
            "name": "Stop_the_app",
            "at": "2026-11-21T12:00:00Z",
            "status": "Succeeded",
            "detail": "",
        }
        self.runs = [
            {"id": "r", "circuit": "breakwater", "generation": generation, "state": state}
            | {"steps": [stop]}
            for state in states
        ]


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    it = Cloud()
    thread = threading.Thread(target=it.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield it
    finally:
        it.server.shutdown()
        thread.join()
        it.server.server_close()


@pytest.fixture
def endpoints(cloud: Cloud, redis_url: str, azurite: str) -> Endpoints:
    return Endpoints(
        redis_url=redis_url,
        storage_connection_string=azurite,
        event_hub_connection="",
        event_hub_name="events",
        event_grid_topic_endpoint=f"{cloud.url}/topic/api/events",
        cloud_url=cloud.url,
        management_url=f"{cloud.url}/site",
        workflow_url=f"{cloud.url}/workflows",
        poison_queue="poison-loadtest-operator",
        settings_file=Path(),
        console_url=cloud.url,
        console_token="secret",
    )


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def observer(endpoints: Endpoints) -> AsyncIterator[Observer]:
    async with Observer(endpoints, KEYS, window_seconds=30) as observer:
        await observer.first()
        yield observer


async def set_circuit(client: redis.asyncio.Redis, state: str, generation: int) -> None:
    values: dict[Any, Any] = {"state": state, "generation": generation}
    await client.hset(KEYS.circuit("circuit"), mapping=values)


def operator(endpoints: Endpoints, observer: Observer, approve: Approve) -> Operator:
    async def recover() -> None:
        await end_outage(endpoints, KEYS)

    return Operator(
        observer,
        endpoints.workflow_url,
        recover,
        approve,
        circuit="breakwater",
        approve_after_seconds=0.0,
        after_generation=1,
    )


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_each_opening_is_approved_once_after_the_downstream_recovered(
    endpoints: Endpoints, observer: Observer, client: redis.asyncio.Redis, cloud: Cloud
) -> None:
    approved: list[tuple[int, bool]] = []

    async def approve(generation: int) -> None:
        approved.append((generation, bool(await client.exists(KEYS.ledger("outage")))))
        await set_circuit(client, "closed", generation)

    await client.set(KEYS.ledger("outage"), "1")
    await set_circuit(client, "open", 1)
    it = operator(endpoints, observer, approve)
    task = asyncio.create_task(it.run())
    await observer.until(lambda sample: sample.generation == 1)
    await set_circuit(client, "open", 2)
    cloud.run(2, "Running")
    await observer.until(lambda sample: sample.generation == 2)
    assert approved == [], "the old opening is ignored, and the workflow does not wait yet"
    cloud.run(2, "WaitingForApproval")
    await observer.until(lambda sample: sample.state == "closed")
    cloud.run(3, "WaitingForApproval")
    for another in ("breakwater/bank", "breakwater-audit"):
        cloud.runs.append({"circuit": another, "generation": 3, "state": "Failed"})
    await set_circuit(client, "open", 3)
    await observer.until(lambda sample: sample.state == "closed" and sample.generation == 3)
    async with asyncio.timeout(HANG_SECONDS):
        while len(it.approvals) < 2:
            await asyncio.sleep(0)
    await stopped(task)
    assert approved == [(2, False), (3, False)]
    assert [approval.generation for approval in it.approvals] == [2, 3]
    assert it.approvals[0].app_stopped_at == "2026-11-21T12:00:00Z"


async def test_failed_workflow_is_an_error(
    endpoints: Endpoints, observer: Observer, client: redis.asyncio.Redis, cloud: Cloud
) -> None:
    async def approve(generation: int) -> None:
        raise AssertionError(generation)

    cloud.run(2, "Failed")
    await set_circuit(client, "open", 2)
    with pytest.raises(OperatorError, match="the workflow of generation 2 failed"):
        await operator(endpoints, observer, approve).run()


@pytest.mark.parametrize("earlier", ["Skipped", "Failed", "Succeeded"])
async def test_newest_run_of_a_generation_counts(
    endpoints: Endpoints,
    observer: Observer,
    client: redis.asyncio.Redis,
    cloud: Cloud,
    earlier: str,
) -> None:
    """A skipped opening may be reported again, and an emptied store restarts its generations."""

    async def approve(generation: int) -> None:
        await set_circuit(client, "closed", generation)

    cloud.run(2, earlier, "WaitingForApproval")
    await set_circuit(client, "open", 2)
    it = operator(endpoints, observer, approve)
    task = asyncio.create_task(it.run())
    async with asyncio.timeout(HANG_SECONDS):
        while not (it.approvals or task.done()):
            await asyncio.sleep(0)
    await stopped(task)
    assert [approval.generation for approval in it.approvals] == [2]


async def test_refused_approval_is_an_error_while_the_circuit_is_open(
    endpoints: Endpoints, observer: Observer, client: redis.asyncio.Redis, cloud: Cloud
) -> None:
    async def approve(generation: int) -> None:
        raise OperatorError(f"refused {generation}")

    cloud.run(2, "WaitingForApproval")
    await set_circuit(client, "open", 2)
    with pytest.raises(OperatorError, match="refused 2"):
        await operator(endpoints, observer, approve).run()


async def test_refused_approval_is_ignored_once_the_circuit_is_closed(
    endpoints: Endpoints, observer: Observer, client: redis.asyncio.Redis, cloud: Cloud
) -> None:
    async def approve(generation: int) -> None:
        await set_circuit(client, "closed", generation)
        await observer.until(lambda sample: sample.state == "closed")
        raise OperatorError("stale")

    cloud.run(2, "WaitingForApproval")
    await set_circuit(client, "open", 2)
    it = operator(endpoints, observer, approve)
    task = asyncio.create_task(it.run())
    async with asyncio.timeout(HANG_SECONDS):
        while not it.approvals:
            await asyncio.sleep(0)
    await stopped(task)


async def test_approval_by_console_sends_its_token(endpoints: Endpoints, cloud: Cloud) -> None:
    approve = approve_with(ApproveWith.CONSOLE, endpoints, "breakwater")
    await approve(2)
    ((path, body, authorization),) = cloud.posts
    assert path == "/api/circuits/breakwater/approve"
    assert body["generation"] == 2
    assert authorization == "Bearer secret"
    with pytest.raises(OperatorError, match="generation 9: 409"):
        await approve(9)


async def test_person_is_prompted_and_waited_for(
    endpoints: Endpoints, observer: Observer, client: redis.asyncio.Redis
) -> None:
    printed: list[str] = []
    ask = HumanApprover(observer, endpoints, printed.append).approve
    await set_circuit(client, "open", 3)
    await observer.until(lambda sample: sample.state == "open")
    approving = approve_with(ApproveWith.PERSON, endpoints, "breakwater", ask)(3)
    waiting = asyncio.ensure_future(approving)
    asked_at = observer.latest.at_us
    await observer.until(lambda sample: sample.at_us > asked_at)
    assert not waiting.done()
    await set_circuit(client, "half_open", 3)
    await waiting
    (line,) = printed
    assert f"approve generation 3 at {endpoints.console_url} with the token secret" in line


async def test_observer_sees_the_ledger_the_window_and_the_site(
    observer: Observer, client: redis.asyncio.Redis
) -> None:
    await client.rpush(KEYS.ledger("key:a"), "1 0 1 1 1", "2 0 2 1 1")
    await client.rpush(KEYS.ledger("key:b"), "1 0 3 1 1")
    seconds, micros = await client.time()
    now_us = seconds * 1_000_000 + micros
    await client.zadd(KEYS.circuit("window"), {"old": now_us - 31_000_000, "new": now_us})
    await client.set(KEYS.ledger("suppressed"), 4)
    last = await observer.until(lambda sample: sample.suppressed == 4)
    seen = await observer.until(
        lambda sample: sample.at_us > last.at_us
    )  # a poll that began after the writes
    assert (seen.handled, seen.failures) == (3, 1)
    seen = await observer.until(lambda sample: sample.app_state == "Stopped")
    assert seen.instances == 2


async def test_unreachable_redis_is_an_error(endpoints: Endpoints) -> None:
    nowhere = replace(endpoints, redis_url="redis://:secret@127.0.0.1:9/0")
    async with Observer(nowhere, KEYS, window_seconds=30) as observer:
        with pytest.raises(StackError, match=r"Redis at 127\.0\.0\.1:9 did not respond"):
            await observer.first(patience_seconds=0.3)


async def test_operator_without_a_workflow_url_waits_for_the_stopped_app(
    endpoints: Endpoints, client: redis.asyncio.Redis, cloud: Cloud
) -> None:
    """On Azure the stopped app shows that the workflow waits."""
    approved: list[int] = []

    async def approve(generation: int) -> None:
        approved.append(generation)
        await set_circuit(client, "closed", generation)

    cloud.site = {"state": "Running", "instances": 1}
    azure = dataclasses.replace(endpoints, workflow_url="")
    async with Observer(azure, KEYS, 30.0) as observer:
        await set_circuit(client, "open", 2)
        task = asyncio.create_task(operator(azure, observer, approve).run())
        await observer.until(lambda sample: sample.generation == 2)
        assert approved == []
        cloud.site = {"state": "Stopped", "instances": 0}
        await observer.until(lambda sample: sample.state == "closed")
        await stopped(task)
    assert approved == [2]


async def test_calls_that_stop_or_start_the_app_are_read(
    endpoints: Endpoints, cloud: Cloud
) -> None:
    """A skipped step, and one that stops nothing, is no such call."""
    cloud.run(2, "Succeeded")
    steps: list[dict[str, Any]] = [
        {"name": "Start_the_app", "status": "Skipped"},
        {"name": "Send_mail", "status": "Succeeded"},
    ]
    cloud.runs[0]["steps"] += steps
    assert await workflow_stops(endpoints) == ["Stop_the_app for breakwater, generation 2"]


async def test_alerts_are_those_of_the_pipelines_circuits(
    endpoints: Endpoints, cloud: Cloud
) -> None:
    """Each pipeline, and each of its dependencies, counts its own generations."""
    for name, dependency in (
        ("breakwater", ""),
        ("breakwater-audit", ""),
        ("breakwater/bank", "bank"),
        ("breakwater-audit/bank", "bank"),
    ):
        data = {"name": name, "generation": 1, "kind": "pipeline", "dependency": dependency}
        cloud.alerts.append({"id": f"{name}:1:opened", "type": OPENED_ALERT, "data": data})
    found = await read_alerts(endpoints, KEYS, 0)
    assert [alert.circuit for alert in found] == ["breakwater", "breakwater/bank"]
    assert {alert.kind for alert in found} == {"pipeline"}
    assert len(await read_all_alerts(endpoints)) == 4
