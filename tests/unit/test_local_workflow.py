"""The workflow: stop, ask, wait, start; once for each generation; nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local.workflow.actions import Actions
from local.workflow.engine import CallbackRefusedError, UnknownRunError, Workflow
from local.workflow.retry import ExponentialRetry, is_retried
from local.workflow.routes import TriggerError, parse_openings
from local.workflow.run import Run, RunState
from local.workflow.store import KEPT_RUNS, RunStore
from tests.unit.local_fakes import Answer, FakeTime, Receiver, until

BASE = "http://cloud/workflows"


def accept(_request: Request, _body: bytes) -> Response:
    return JSONResponse({"status": "registered"}, status_code=202)


class World:
    """A workflow whose management and console are `receiver`."""

    def __init__(self, answer: Answer = accept, store: RunStore | None = None) -> None:
        self.receiver = Receiver(answer)
        self.time = FakeTime()
        actions = Actions(self.receiver.client(), "http://arm/sites/b", "http://console", "token")
        self.workflow = Workflow(
            actions, store or RunStore(), BASE, now=self.time.now, sleep=self.time.sleep
        )

    @property
    def calls(self) -> list[str]:
        return [urlsplit(url).path.rpartition("/")[2] for _, url, _, _ in self.receiver.requests]

    def begin(self, generation: int = 1) -> Run:
        run = self.workflow.trigger("breakwater", generation)
        assert run is not None
        return run

    async def reaches(self, run: Run, state: RunState) -> None:
        await until(lambda: run.state is state)

    async def asked(self, times: int = 1) -> None:
        await until(lambda: self.calls.count("approvals") == times)

    def approve(self, run: Run) -> None:
        self.workflow.callback(run.id, run.sig, "alice")


def step(run: Run, name: str) -> Any:
    return next(step for step in run.steps if step.name == name)


async def test_an_opening_stops_the_app_asks_waits_and_starts_it() -> None:
    world = World()
    run = world.begin()
    await world.asked()
    assert run.state is RunState.WAITING
    assert world.calls == ["stop", "approvals"]
    world.approve(run)
    await world.reaches(run, RunState.SUCCEEDED)
    assert world.calls == ["stop", "approvals", "start"]
    names = [step.name for step in run.steps]
    assert names == ["triggered", "stop", "approval", "request_approval", "start"]
    assert {step.status for step in run.steps} == {"Succeeded"}
    assert step(run, "approval").detail == "by alice"


async def test_management_is_called_as_azure_resource_manager_is() -> None:
    world = World()
    run = world.begin()
    await world.asked()
    method, url, _, _ = world.receiver.requests[0]
    assert (method, url) == ("POST", "http://arm/sites/b/stop?api-version=2025-03-01")
    world.approve(run)
    await world.reaches(run, RunState.SUCCEEDED)


async def test_the_operator_is_asked_with_a_callback_that_carries_the_runs_secret() -> None:
    world = World()
    run = world.begin(3)
    await world.asked()
    _, url, headers, body = world.receiver.requests[1]
    assert url == "http://console/api/approvals"
    assert headers["authorization"] == "Bearer token"
    request = json.loads(body)
    assert (request["circuit"], request["generation"]) == ("breakwater", 3)
    callback = urlsplit(request["callbackUrl"])
    assert callback.path == f"/workflows/runs/{run.id}/callback"
    assert parse_qs(callback.query) == {"sig": [run.sig]}
    await world.workflow.aclose()


async def test_repeats_and_older_generations_are_ignored() -> None:
    """Event Grid delivers at least once, and not in order."""
    world = World()
    world.begin(2)
    assert world.workflow.trigger("breakwater", 2) is None
    assert world.workflow.trigger("breakwater", 1) is None
    await world.asked()
    assert world.calls == ["stop", "approvals"]
    await world.workflow.aclose()


async def test_another_circuit_has_generations_of_its_own() -> None:
    world = World()
    world.begin(5)
    assert world.workflow.trigger("other", 1) is not None
    await world.asked(2)
    await world.workflow.aclose()


async def test_a_newer_generation_ends_the_older_run_before_it_stops_the_app() -> None:
    """Else the older one's approval would start the app that the newer one has stopped."""
    world = World()
    old = world.begin(1)
    await world.asked()
    new = world.begin(2)
    await world.asked(2)
    assert old.state is RunState.CANCELLED
    assert step(old, "superseded").detail == "generation 2 opened"
    world.approve(old)
    world.approve(new)
    await world.reaches(new, RunState.SUCCEEDED)
    assert world.calls == ["stop", "approvals", "stop", "approvals", "start"]


async def test_a_circuit_that_has_passed_the_generation_needs_no_operator() -> None:
    def passed(request: Request, _body: bytes) -> Response:
        is_console = request.url.path == "/api/approvals"
        return JSONResponse({"status": "passed"}) if is_console else Response()

    world = World(passed)
    run = world.begin()
    await world.reaches(run, RunState.SUCCEEDED)
    assert world.calls == ["stop", "approvals", "start"]


async def test_actions_are_retried_like_those_of_logic_apps() -> None:
    statuses = iter([500, 429, 408, 503])

    def flaky(request: Request, _body: bytes) -> Response:
        is_stop = request.url.path.endswith("/stop")
        return Response(status_code=next(statuses, 200) if is_stop else 200)

    world = World(flaky)
    run = world.begin()
    await world.asked()
    assert world.time.slept == [7.5, 15, 30, 45]
    assert step(run, "stop").attempts == 5
    assert step(run, "stop").status == "Succeeded"
    await world.workflow.aclose()


async def test_a_stop_that_fails_for_good_still_asks_the_operator() -> None:
    """The circuit holds every event, stopped or not; somebody has to know."""

    def refuse_stop(request: Request, _body: bytes) -> Response:
        return Response("no", status_code=403 if request.url.path.endswith("/stop") else 200)

    world = World(refuse_stop)
    run = world.begin()
    await world.asked()
    assert step(run, "stop").status == "Failed"
    assert step(run, "stop").attempts == 1
    assert "403" in step(run, "stop").detail
    await world.workflow.aclose()


async def test_a_start_that_fails_for_good_fails_the_run() -> None:
    def refuse_start(request: Request, _body: bytes) -> Response:
        return Response(status_code=500 if request.url.path.endswith("/start") else 200)

    world = World(refuse_start)
    run = world.begin()
    await world.asked()
    world.approve(run)
    await world.reaches(run, RunState.FAILED)
    assert step(run, "start").attempts == 5


async def test_asking_is_never_given_up() -> None:
    refusals = 20

    def reluctant(request: Request, _body: bytes) -> Response:
        is_console = request.url.path == "/api/approvals"
        return Response(status_code=401 if is_console and len(world.calls) <= refusals else 200)

    world = World(reluctant)
    run = world.begin()
    await until(lambda: any(s.name == "request_approval" and s.detail for s in run.steps))
    await until(lambda: step(run, "request_approval").status == "Succeeded")
    assert step(run, "request_approval").attempts == refusals
    assert max(world.time.slept) == 45
    await world.workflow.aclose()


async def test_an_approval_before_the_console_has_answered_counts() -> None:
    def eager(request: Request, body: bytes) -> Response:
        if request.url.path == "/api/approvals":
            world.approve(world.workflow.runs()[0])
            return Response(status_code=500)
        return Response()

    world = World(eager)
    run = world.begin()
    await world.reaches(run, RunState.SUCCEEDED)


async def test_a_callback_may_come_twice_and_late() -> None:
    world = World()
    run = world.begin()
    await world.asked()
    world.approve(run)
    world.approve(run)
    await world.reaches(run, RunState.SUCCEEDED)
    world.workflow.callback(run.id, run.sig, "bob")
    assert run.approved_by == "alice"
    assert world.calls.count("start") == 1


async def test_a_callback_needs_the_runs_own_secret() -> None:
    world = World()
    run = world.begin()
    other = world.workflow.trigger("other", 1)
    assert other is not None
    for sig in ("", other.sig, "ü"):
        with pytest.raises(CallbackRefusedError):
            world.workflow.callback(run.id, sig, None)
    with pytest.raises(UnknownRunError):
        world.workflow.callback("none", run.sig, None)
    assert run.approved_by is None
    await world.workflow.aclose()


async def test_a_run_outlives_its_process(tmp_path: Path) -> None:
    """Else a crash would leave the app stopped with nobody to start it."""
    path = tmp_path / "workflow.json"
    first = World(store=RunStore(path))
    run = first.begin()
    await first.asked()
    await first.workflow.aclose()

    second = World(store=RunStore(path))
    second.workflow.resume()
    await second.asked()
    [resumed] = second.workflow.runs()
    assert resumed.state is RunState.WAITING
    second.workflow.callback(run.id, run.sig, "alice")
    await second.reaches(resumed, RunState.SUCCEEDED)
    assert second.calls == ["approvals", "start"]


async def test_an_approval_is_remembered_across_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "workflow.json"
    store = RunStore(path)
    run = Run("breakwater", 1, state=RunState.WAITING, approved_by="alice")
    store.save(run)
    world = World(store=RunStore(path))
    world.workflow.resume()
    await until(lambda: world.workflow.runs()[0].state is RunState.SUCCEEDED)
    assert world.calls == ["start"]


async def test_shutting_down_leaves_no_task() -> None:
    world = World()
    run = world.begin()
    await world.asked()
    await world.workflow.aclose()
    assert world.workflow._tasks == {}
    assert run.state is RunState.WAITING


def test_finished_runs_are_bounded_and_unfinished_ones_kept(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "workflow.json")
    waiting = Run("breakwater", 1, state=RunState.WAITING)
    store.save(waiting)
    for generation in range(2, KEPT_RUNS + 10):
        store.save(Run("breakwater", generation, state=RunState.SUCCEEDED))
    assert len(store.all()) == KEPT_RUNS
    assert store.all()[0] is waiting


def test_what_is_shown_of_a_run_has_no_secret() -> None:
    run = Run("breakwater", 1)
    assert run.sig not in json.dumps(run.as_dict())
    assert run.sig not in repr(run)


def test_retries_double_between_their_bounds_and_end() -> None:
    retry = ExponentialRetry()
    assert [retry.wait_after(attempt) for attempt in range(1, 6)] == [7.5, 15, 30, 45, None]
    assert ExponentialRetry(interval_seconds=1).wait_after(1) == 5
    assert ExponentialRetry(retries=None, scale=0.1).wait_after(10_000) == 4.5


@pytest.mark.parametrize(
    ("status", "retried"), [(408, True), (429, True), (500, True), (400, False), (404, False)]
)
def test_which_answers_are_retried(status: int, retried: bool) -> None:
    assert is_retried(status) is retried


def opening(**data: object) -> dict[str, object]:
    return {"type": "breakwater.circuit.opened", "data": {"name": "b", "generation": 1} | data}


def test_openings_are_read_from_one_event_or_an_array() -> None:
    other = {"type": "breakwater.circuit.closed"}
    assert parse_openings(json.dumps(opening()).encode()) == [("b", 1)]
    assert parse_openings(json.dumps([other, opening(generation=7)]).encode()) == [("b", 7)]


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("x", "takes a CloudEvent"),
        ([1], "takes a CloudEvent"),
        ({"type": "breakwater.circuit.opened"}, "no data object"),
        (opening(name=""), "data.name is ''"),
        (opening(generation=0), "data.generation is 0"),
        (opening(generation=True), "data.generation is True"),
        (opening(generation="1"), "data.generation is '1'"),
    ],
)
def test_a_malformed_opening_is_refused_by_what_is_wrong(value: object, complaint: str) -> None:
    with pytest.raises(TriggerError, match=complaint):
        parse_openings(json.dumps(value).encode())


def test_a_trigger_without_json_is_refused() -> None:
    with pytest.raises(TriggerError, match="not JSON"):
        parse_openings(b"{")
