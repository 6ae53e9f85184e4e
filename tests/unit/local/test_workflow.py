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
from local.workflow.run import Opening, Run, RunState
from local.workflow.store import KEPT_RUNS, RunStore
from tests.support.local.fakes import Answer, FakeTime, Receiver, until

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

    def begin(self, generation: int = 1, at: float | None = None) -> Run:
        run = self.workflow.trigger(Opening("breakwater", generation, at))
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
    assert world.workflow.trigger(Opening("breakwater", 2)) is None
    assert world.workflow.trigger(Opening("breakwater", 1)) is None
    await world.asked()
    assert world.calls == ["stop", "approvals"]
    await world.workflow.aclose()


def console_that_knows(generation: int, state: str = "open", status: int = 200) -> Answer:
    def answer(request: Request, _body: bytes) -> Response:
        if request.url.path != "/api/circuits/breakwater":
            return accept(request, _body)
        circuit = {"generation": generation, "state": state}
        return JSONResponse(circuit, status_code=status)

    return answer


@pytest.mark.parametrize("generation", [1, 2])
async def test_an_opening_after_the_store_was_emptied(generation: int) -> None:
    """Generations are counted anew then; it is later all the same, and begins a run, once."""
    world = World(console_that_knows(generation))
    old = world.begin(2, at=100.0)
    await world.asked()
    new = world.begin(generation, at=200.0)
    await world.asked(2)
    assert (old.state, new.state) == (RunState.CANCELLED, RunState.WAITING)
    assert world.workflow.trigger(Opening("breakwater", generation, 200.0)) is None
    assert world.workflow.trigger(Opening("breakwater", 2, 100.0)) is None
    world.approve(old)
    world.approve(new)
    await world.reaches(new, RunState.SUCCEEDED)
    assert world.calls == ["stop", "approvals", "breakwater", "stop", "approvals", "start"]


async def test_an_opening_from_before_the_store_was_emptied_may_come_late() -> None:
    """Its generation is higher, but not the circuit's: the run that waits goes on waiting."""
    world = World(console_that_knows(1))
    run = world.begin(1, at=200.0)
    await world.asked()
    late = world.begin(5, at=100.0)
    await world.reaches(late, RunState.SKIPPED)
    world.approve(run)
    await world.reaches(run, RunState.SUCCEEDED)
    assert world.calls == ["stop", "approvals", "breakwater", "start"]


async def test_what_was_skipped_may_come_again() -> None:
    """The console had not seen the opening yet, for its store was away; now it has."""
    seen = [("closed", 1), ("open", 1)]

    def answer(request: Request, body: bytes) -> Response:
        if request.method == "GET":
            state, generation = seen.pop(0)
            return console_that_knows(generation, state)(request, body)
        return accept(request, body)

    world = World(answer)
    first = world.begin(3, at=100.0)
    await world.asked()
    await world.reaches(world.begin(1, at=200.0), RunState.SKIPPED)
    assert first.state is RunState.WAITING
    again = world.begin(1, at=200.0)
    await world.asked(2)
    assert (first.state, again.state) == (RunState.CANCELLED, RunState.WAITING)
    await world.workflow.aclose()


@pytest.mark.parametrize("status", [200, 503])
async def test_a_console_that_does_not_say_is_no_reason_not_to_stop(status: int) -> None:
    """As in the cloud."""

    def answer(request: Request, body: bytes) -> Response:
        return Response("?", status) if request.method == "GET" else accept(request, body)

    world = World(answer)
    world.begin(3, at=100.0)
    await world.asked()
    run = world.begin(1, at=200.0)
    await world.asked(2)
    assert step(run, "look_up").status == "Failed"
    assert world.calls[-2:] == ["stop", "approvals"]
    await world.workflow.aclose()


async def test_when_it_opened_outlives_the_process(tmp_path: Path) -> None:
    """Also in a file of an earlier version, which does not say: there the generation decides."""
    path = tmp_path / "workflow.json"
    store = RunStore(path)
    store.save(Run("breakwater", 1, state=RunState.SUCCEEDED, at=100.0))
    world = World(store=RunStore(path))
    assert world.workflow.trigger(Opening("breakwater", 1, 100.0)) is None
    assert world.workflow.trigger(Opening("breakwater", 1, 200.0)) is not None
    await world.workflow.aclose()
    text = path.read_text()
    path.write_text(text.replace('"at": 100.0', '"was": 0').replace('"at": 200.0', '"was": 0'))
    assert [run.at for run in RunStore(path).all()] == [None, None]
    world = World(store=RunStore(path))
    assert world.workflow.trigger(Opening("breakwater", 1, 300.0)) is None


async def test_another_circuit_has_generations_of_its_own() -> None:
    world = World()
    world.begin(5)
    assert world.workflow.trigger(Opening("other", 1)) is not None
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
    other = world.workflow.trigger(Opening("other", 1))
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


@pytest.mark.parametrize("skipped", [False, True])
async def test_a_crash_before_the_older_run_was_ended(skipped: bool) -> None:
    """One of the two goes on: else the older one's approval would start what the newer stopped."""
    store = RunStore()
    old = Run("breakwater", 1, state=RunState.WAITING, at=200.0)
    new = Run("breakwater", 2, at=100.0 if skipped else 300.0)
    store.save(old)
    store.save(new)
    world = World(console_that_knows(1), store)
    world.workflow.resume()
    goes_on, ended = (old, new) if skipped else (new, old)
    await until(lambda: ended.state in {RunState.SKIPPED, RunState.CANCELLED})
    await until(lambda: "approvals" in world.calls)
    world.approve(ended)
    await until(lambda: goes_on.state is RunState.WAITING)
    assert "start" not in world.calls
    world.approve(goes_on)
    await world.reaches(goes_on, RunState.SUCCEEDED)
    assert world.calls.count("start") == 1


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
    assert parse_openings(json.dumps(opening()).encode()) == [Opening("b", 1)]
    found = parse_openings(json.dumps([other, opening(generation=7)]).encode())
    assert found == [Opening("b", 7)]


@pytest.mark.parametrize(
    ("time", "at"),
    [
        ("2026-11-01T12:00:00.000001Z", 1_793_534_400.000001),
        ("2026-11-01T13:00:00+01:00", 1_793_534_400.0),
        ("2026-11-01T12:00:00", None),
        ("yesterday", None),
        (5, None),
    ],
)
def test_when_it_opened_is_read_if_it_is_a_time(time: object, at: float | None) -> None:
    """An event may lack it: then the generation alone decides."""
    assert parse_openings(json.dumps(opening() | {"time": time}).encode()) == [Opening("b", 1, at)]


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
