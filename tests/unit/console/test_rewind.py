"""Rewinds that operators start from the page: stop, rewind and start as one job."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from breaker.chain import Step, StepKind
from console.access.auth import Caller
from console.app import create_app
from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import LOG, MemoryBackplane
from console.errors import BackplaneError, OperationsError
from console.live.fanout import Fanout
from console.live.incident_log import IncidentLog
from console.poison.lazy_operations import LazyOperations
from console.rewind import api as rewind_module
from console.rewind.api import REWIND, RewindApi
from console.rewind.lost import LostRewinds
from console.settings import ConsoleSettings
from processing.partitions.checkpoints import Checkpoint, Ownership
from processing.poison.discard_records import record_name
from processing.site import restart as restart_module
from processing.site.client import Site
from processing.site.settings import SiteSettings
from processing.site.watch import SiteWatch
from tests.support.arm import Arm
from tests.support.processing.events import SOURCE, event
from tests.support.processing.rewind_rig import RewindSetup

STARTED = "The app is started; the local stack says: running."
TOKEN = "a-token-of-32-characters-for-test"


class Operations(LazyOperations):
    """A rewind on stores in memory."""

    def __init__(self) -> None:
        super().__init__({})
        self.setup = RewindSetup()

    async def rewind(self) -> Any:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Any]:
            yield self.setup.rewind

        return opened()


@dataclass
class Desk:
    """The rewind API with its backplane and log, and the app's management."""

    arm: Arm
    breaker: CircuitBreaker
    watch: SiteWatch
    coordination: MemoryCoordination = field(default_factory=MemoryCoordination)
    operations: Operations = field(default_factory=Operations)

    last: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.backplane = MemoryBackplane(self.coordination)
        self.api = self.new_api()

    def new_api(self) -> RewindApi:
        return RewindApi(
            self.operations,
            self.breaker,
            self.watch,
            coordination=self.coordination,
            backplane=self.backplane,
            log=IncidentLog(self.backplane),
            last=lambda: self.last,
        )

    async def ask(self, what: str, by: str = "ann", **body: Any) -> dict[str, Any]:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(body).encode()}

        scope = {"type": "http", "headers": [], "state": {"caller": Caller(by)}}
        answer = await getattr(self.api, what)(Request(scope, receive))
        found: dict[str, Any] = json.loads(answer.body)
        return found

    async def plan(self, partition: str | None = "0", to: Any = 30) -> list[Any]:
        found: list[Any] = (await self.ask("plan", partition=partition, to=to))["partitions"]
        return found

    async def start(self, partition: str | None = "0", to: Any = 30, **body: Any) -> None:
        body = {"plan": await self.plan(partition, to)} | body
        await self.ask("rewind", partition=partition, to=to, **body)

    async def messages(self) -> list[dict[str, Any]]:
        sent = [each for each in await self.backplane.latest(100) if each.kind == REWIND]
        return [json.loads(each.data) for each in sent]

    async def ended(self) -> dict[str, Any]:
        """Return the final message about the running job."""
        async with asyncio.timeout(10):
            while await self.coordination.holder(REWIND):
                await asyncio.sleep(0.005)
        found = (await self.messages())[-1]
        assert found["done"]
        return found

    async def lines(self) -> list[tuple[str, str, str]]:
        sent = [each for each in await self.backplane.latest(100) if each.kind == LOG]
        found = [json.loads(each.data) for each in sent]
        return [(line["kind"], line["by"], line["text"]) for line in found]

    @property
    def asked(self) -> list[str]:
        """The stops and starts that were asked for."""
        return [operation for _, operation, _, _ in self.arm.calls if operation]


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(restart_module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(rewind_module, "PROGRESS_SECONDS", 0.005)
    async with Arm().running() as arm:
        site = Site(
            SiteSettings(arm.url, ""),
            lambda: pytest.fail("no token"),
            sleep=lambda _: asyncio.sleep(0),
        )
        breaker = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))
        async with breaker:
            yield Desk(arm, breaker, SiteWatch(breaker, site, None))
        await site.aclose()


async def test_rewind_stops_and_starts_the_app(desk: Desk) -> None:
    """The plan is shown first; then page, log and history say what was done, and by whom."""
    (row,) = await desk.plan()
    assert row == {
        "partition": "0",
        "old_checkpoint": 49,
        "restart_at": 30,
        "events": 20,
        "warnings": [],
    }
    assert desk.asked == [], "a plan changes nothing"
    await desk.start()
    result = await desk.ended()
    assert desk.asked == ["stop", "start"]
    assert desk.operations.setup.checkpoints.known["0"] == Checkpoint(29, "2900")
    assert result["lines"] == ["Rewound: partition 0 to event 30.", STARTED]
    assert (result["failed"], result["stopped_at"], result["by"]) == (False, None, "ann")
    assert [line for line in await desk.lines() if line[0] == "rewind"] == [
        ("rewind", "ann", "stops the app, rewinds partition 0 to event 30"),
        (
            "rewind",
            "ann",
            f"rewind of partition 0 to event 30: Rewound: partition 0 to event 30. {STARTED}",
        ),
    ]
    history = [(each.event, each.by, each.reason) for each in await desk.breaker.history()]
    assert history == [
        ("start_accepted", "ann", "HTTP 200; rewind"),
        ("stop_accepted", "ann", "HTTP 200; rewind"),
    ]


async def test_partition_that_is_left_out_is_named_at_the_end(desk: Desk) -> None:
    desk.operations.setup.positions.silent = {"1"}
    await desk.start(None, "start")
    assert (await desk.ended())["lines"] == [
        "Rewound: partition 0 to event 5.",
        "Left out: partition 1 (event hub: partition 1 does not answer).",
        STARTED,
    ]


async def test_stop_is_on_record_before_it_is_asked_for(desk: Desk) -> None:
    """Otherwise nobody starts the app again if this instance dies right after the stop."""
    desk.operations.setup.checkpoints.owned = [Ownership("0", "host", 0.0)]
    await desk.start()
    async with asyncio.timeout(10):
        while not any(each["stage"] == "expire" for each in await desk.messages()):
            await asyncio.sleep(0.005)
    (_, first, *_) = await desk.messages()
    assert (first["stage"], first["stopped_at"] is not None) == ("", True)
    desk.operations.setup.checkpoints.owned = []
    await desk.ended()


async def test_stop_that_cannot_be_put_on_record_is_not_asked_for(desk: Desk) -> None:
    class Silent(MemoryBackplane):
        async def publish(self, *_: Any, **__: Any) -> list[str]:
            raise BackplaneError("redis: down")

    desk.backplane = Silent(desk.coordination)
    desk.api = desk.new_api()
    await desk.start()
    async with asyncio.timeout(10):
        while await desk.coordination.holder(REWIND):
            await asyncio.sleep(0.005)
    assert desk.asked == []


async def test_plan_that_has_changed_since_changes_nothing(desk: Desk) -> None:
    """A new warning, a further partition and an earlier start need another confirmation."""
    setup = desk.operations.setup
    plan = await desk.plan()
    place = record_name(SOURCE, 40, event(40).enqueued_ms)
    await setup.claims.write(place, b"")
    for other, says in (
        (plan, "has a new warning: The handler gets 1 event again"),
        ([plan[0] | {"restart_at": 31}], "restart at event 30 instead of 31"),
        ([plan[0] | {"partition": "1"}], "partition 0 was not in the plan"),
    ):
        desk.arm.calls.clear()
        await desk.start(plan=other)
        result = await desk.ended()
        assert says in result["lines"][1]
        assert (result["lines"][0], result["lines"][-1]) == (
            "Nothing was changed.",
            STARTED,
        )
        assert result["failed"]
        assert desk.asked == ["stop", "start"]
    assert setup.checkpoints.known["0"] == Checkpoint(49, "4900")
    await desk.start()
    assert not (await desk.ended())["failed"], "the present plan is accepted"


async def test_console_that_shuts_down_starts_the_app_again(desk: Desk) -> None:
    desk.operations.setup.checkpoints.owned = [Ownership("0", "host", 0.0)]
    await desk.start()
    async with asyncio.timeout(10):
        while desk.asked != ["stop"]:
            await asyncio.sleep(0.005)
    await desk.api.aclose()
    result = (await desk.messages())[-1]
    assert result["lines"] == [
        "Nothing was changed.",
        "Interrupted: this instance of the console shuts down.",
        STARTED,
    ]
    assert desk.asked == ["stop", "start"]


async def test_one_rewind_at_a_time(desk: Desk) -> None:
    await desk.coordination.acquire(REWIND, "another", 60)
    with pytest.raises(HTTPException) as refused:
        await desk.start()
    assert refused.value.status_code == 409
    assert desk.asked == []


async def test_app_that_a_dead_instance_has_stopped_is_started_before_another_rewind(
    desk: Desk,
) -> None:
    """The other rewind would take the app for one that was stopped before, and leave it so."""
    desk.last = {"done": False, "stopped_at": 1_000.0, "by": "bob"}
    with pytest.raises(HTTPException, match="bob's rewind has stopped the app") as refused:
        await desk.start()
    assert refused.value.status_code == 409
    assert desk.asked == []
    desk.last = {"done": True, "stopped_at": None, "by": "bob"}
    await desk.start()
    await desk.ended()
    assert desk.asked == ["stop", "start"]


async def test_refused_plan_says_why(desk: Desk) -> None:
    with pytest.raises(HTTPException, match="event 4 is not among them") as refused:
        await desk.plan("0", 4)
    assert refused.value.status_code == 409
    desk.operations.setup.positions.silent = {"0"}
    with pytest.raises(OperationsError, match="partition 0 does not answer"):
        await desk.plan("0", "start")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "to takes"),
        ({"to": True}, "to takes"),
        ({"to": -1}, "to takes"),
        ({"to": "end"}, "to takes"),
        ({"to": 5}, "partition is needed"),
        ({"to": "start", "partition": ""}, "partition is missing"),
        ({"to": "start"}, "plan is not the list"),
        ({"to": "start", "plan": []}, "plan is not the list"),
        ({"to": "start", "plan": [{"partition": "0"}]}, "plan is not the list"),
    ],
)
async def test_invalid_request_names_the_field(desk: Desk, body: Any, says: str) -> None:
    with pytest.raises(HTTPException, match=says) as refused:
        await desk.ask("rewind", **body)
    assert refused.value.status_code == 400


async def test_rewind_needs_the_address_a_session_and_the_csrf_token() -> None:
    breaker = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))
    app = create_app(breaker, ConsoleSettings(token=TOKEN))
    body = {
        "partition": "0",
        "to": "start",
        "plan": [{"partition": "0", "restart_at": 0, "warnings": []}],
    }
    transport = httpx.ASGITransport(app)
    async with breaker, httpx.AsyncClient(transport=transport, base_url="http://c") as client:
        for path in ("/api/rewind", "/api/rewind/plan"):
            assert (await client.post(path, json=body)).status_code == 401
        await client.post("/login", json={"token": TOKEN, "name": "ann"})
        client.headers["Origin"] = "http://c"
        for path in ("/api/rewind", "/api/rewind/plan"):
            assert (await client.post(path, json=body)).status_code == 403
        client.headers["X-CSRF-Token"] = (await client.get("/api/session")).json()["csrf"]
        answer = await client.post("/api/rewind", json=body)
        assert answer.status_code == 503
        assert "FUNCTION_APP_URL is not set" in answer.json()["error"]


@dataclass
class Survivor:
    """An instance that follows the messages after another instance has died."""

    desk: Desk

    async def end(self, job: dict[str, Any], *, steps: int = 25) -> list[dict[str, Any]]:
        """Return what the task publishes about a job within `steps` looks."""
        fanout = Fanout(self.desk.backplane, instance="survivor")
        await self.desk.backplane.publish([(REWIND, job)])
        (message,) = await self.desk.backplane.latest(1)
        fanout.snapshot.apply(message)
        published: list[dict[str, Any]] = []
        done = asyncio.Event()
        looks = 0

        async def publish(_: str, document: dict[str, Any]) -> None:
            published.append(document)
            await self.desk.backplane.publish([(REWIND, document)])
            (last,) = await self.desk.backplane.latest(1)
            fanout.snapshot.apply(last)

        async def sleep(_: float) -> None:
            nonlocal looks
            looks += 1
            if looks > steps:
                done.set()
                await asyncio.Event().wait()
            await asyncio.sleep(0)

        lost = LostRewinds(
            self.desk.coordination, fanout, self.desk.breaker, self.desk.watch, sleep=sleep
        )
        task = asyncio.create_task(lost.run(publish))
        async with asyncio.timeout(10):
            await done.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return published


JOB = {"job": "j", "by": "ann", "text": "partition 0", "done": False, "stopped_at": 10.0}


async def test_app_that_a_dead_instance_has_stopped_is_started(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused start is asked for again."""
    caplog.set_level(logging.CRITICAL, logger="console.rewind.lost")
    desk.arm.state = "Stopped"
    desk.arm.start = [403]
    first, last = await Survivor(desk).end(JOB, steps=45)
    assert (first["done"], last["done"], last["failed"]) == (False, True, True)
    assert "The console asks again." in first["lines"][1]
    assert last["lines"][1] == "A start of the app was asked for, and accepted."
    assert desk.asked == ["start", "start"]
    assert desk.arm.state == "Running"


async def test_app_that_a_dead_instance_has_not_stopped_is_left_alone(desk: Desk) -> None:
    desk.arm.state = "Stopped"
    (last,) = await Survivor(desk).end(JOB | {"stopped_at": None})
    assert last["lines"][1] == "The rewind had not stopped the app."
    stop = Step(StepKind.STOP, 1, accepted=True, detail="HTTP 200", at=11.0, by="workflow")
    await desk.breaker.approvals.report(stop)
    (last,) = await Survivor(desk).end(JOB)
    assert "workflow asked for a stop in the meantime" in last["lines"][1]
    assert desk.asked == []


async def test_running_job_is_left_to_its_instance(desk: Desk) -> None:
    await desk.coordination.acquire(REWIND, "j", 60)
    assert await Survivor(desk).end(JOB) == []
    assert desk.asked == []
