"""The workflow: stop, request approval, wait, start; at most one run per generation."""

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


class Harness:
    """A workflow with a fake management and console endpoint, which is `receiver`."""

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

    async def approval_requested(self, times: int = 1) -> None:
        await until(lambda: self.calls.count("approvals") == times)

    def approve(self, run: Run) -> None:
        self.workflow.callback(run.id, run.sig, "alice")


def step(run: Run, name: str) -> Any:
    return next(step for step in run.steps if step.name == name)


async def test_an_opening_stops_the_app_and_an_approval_starts_it() -> None:
    harness = Harness()
    run = harness.begin()
    await harness.approval_requested()
    assert run.state is RunState.WAITING
    assert harness.calls == ["stop", "approvals"]
    harness.approve(run)
    await harness.reaches(run, RunState.SUCCEEDED)
    assert harness.calls == ["stop", "approvals", "start"]
    names = [step.name for step in run.steps]
    assert names == ["triggered", "stop", "approval", "request_approval", "start"]
    assert {step.status for step in run.steps} == {"Succeeded"}
    assert step(run, "approval").detail == "by alice"


async def test_management_requests_have_the_form_of_azure_resource_manager() -> None:
    harness = Harness()
    run = harness.begin()
    await harness.approval_requested()
    method, url, _, _ = harness.receiver.requests[0]
    assert (method, url) == ("POST", "http://arm/sites/b/stop?api-version=2025-03-01")
    harness.approve(run)
    await harness.reaches(run, RunState.SUCCEEDED)


async def test_an_approval_request_contains_a_callback_with_the_runs_secret() -> None:
    harness = Harness()
    run = harness.begin(3)
    await harness.approval_requested()
    _, url, headers, body = harness.receiver.requests[1]
    assert url == "http://console/api/approvals"
    assert headers["authorization"] == "Bearer token"
    request = json.loads(body)
    assert (request["circuit"], request["generation"]) == ("breakwater", 3)
    callback = urlsplit(request["callbackUrl"])
    assert callback.path == f"/workflows/runs/{run.id}/callback"
    assert parse_qs(callback.query) == {"sig": [run.sig]}
    await harness.workflow.aclose()


async def test_repeats_and_older_generations_are_ignored() -> None:
    """Event Grid delivers at least once and not in order."""
    harness = Harness()
    harness.begin(2)
    assert harness.workflow.trigger(Opening("breakwater", 2)) is None
    assert harness.workflow.trigger(Opening("breakwater", 1)) is None
    await harness.approval_requested()
    assert harness.calls == ["stop", "approvals"]
    await harness.workflow.aclose()


def console_with_circuit(generation: int, state: str = "open", status: int = 200) -> Answer:
    def answer(request: Request, _body: bytes) -> Response:
        if request.url.path != "/api/circuits/breakwater":
            return accept(request, _body)
        circuit = {"generation": generation, "state": state}
        return JSONResponse(circuit, status_code=status)

    return answer


@pytest.mark.parametrize("generation", [1, 2])
async def test_an_opening_after_the_store_was_emptied_starts_one_run(generation: int) -> None:
    """Generations restart at 1, but the opening is newer by time."""
    harness = Harness(console_with_circuit(generation))
    old = harness.begin(2, at=100.0)
    await harness.approval_requested()
    new = harness.begin(generation, at=200.0)
    await harness.approval_requested(2)
    assert (old.state, new.state) == (RunState.CANCELLED, RunState.WAITING)
    assert harness.workflow.trigger(Opening("breakwater", generation, 200.0)) is None
    assert harness.workflow.trigger(Opening("breakwater", 2, 100.0)) is None
    harness.approve(old)
    harness.approve(new)
    await harness.reaches(new, RunState.SUCCEEDED)
    assert harness.calls == ["stop", "approvals", "breakwater", "stop", "approvals", "start"]


async def test_a_late_opening_from_before_the_store_was_emptied_is_skipped() -> None:
    """The opening has a higher generation, but the circuit does not; the waiting run continues."""
    harness = Harness(console_with_circuit(1))
    run = harness.begin(1, at=200.0)
    await harness.approval_requested()
    late = harness.begin(5, at=100.0)
    await harness.reaches(late, RunState.SKIPPED)
    harness.approve(run)
    await harness.reaches(run, RunState.SUCCEEDED)
    assert harness.calls == ["stop", "approvals", "breakwater", "start"]


async def test_a_skipped_opening_may_start_a_run_later() -> None:
    """The console first returns an old state, because its store was unavailable."""
    seen = [("closed", 1), ("open", 1)]

    def answer(request: Request, body: bytes) -> Response:
        if request.method == "GET":
            state, generation = seen.pop(0)
            return console_with_circuit(generation, state)(request, body)
        return accept(request, body)

    harness = Harness(answer)
    first = harness.begin(3, at=100.0)
    await harness.approval_requested()
    await harness.reaches(harness.begin(1, at=200.0), RunState.SKIPPED)
    assert first.state is RunState.WAITING
    again = harness.begin(1, at=200.0)
    await harness.approval_requested(2)
    assert (first.state, again.state) == (RunState.CANCELLED, RunState.WAITING)
    await harness.workflow.aclose()


@pytest.mark.parametrize("status", [200, 503])
async def test_failed_look_up_does_not_prevent_the_stop(status: int) -> None:
    """The Logic App in the cloud has the same rule."""

    def answer(request: Request, body: bytes) -> Response:
        return Response("?", status) if request.method == "GET" else accept(request, body)

    harness = Harness(answer)
    harness.begin(3, at=100.0)
    await harness.approval_requested()
    run = harness.begin(1, at=200.0)
    await harness.approval_requested(2)
    assert step(run, "look_up").status == "Failed"
    assert harness.calls[-2:] == ["stop", "approvals"]
    await harness.workflow.aclose()


async def test_the_time_of_an_opening_survives_a_restart(tmp_path: Path) -> None:
    """In a file of an earlier version without times, only the generation is compared."""
    path = tmp_path / "workflow.json"
    store = RunStore(path)
    store.save(Run("breakwater", 1, state=RunState.SUCCEEDED, at=100.0))
    harness = Harness(store=RunStore(path))
    assert harness.workflow.trigger(Opening("breakwater", 1, 100.0)) is None
    assert harness.workflow.trigger(Opening("breakwater", 1, 200.0)) is not None
    await harness.workflow.aclose()
    text = path.read_text()
    path.write_text(text.replace('"at": 100.0', '"was": 0').replace('"at": 200.0', '"was": 0'))
    assert [run.at for run in RunStore(path).all()] == [None, None]
    harness = Harness(store=RunStore(path))
    assert harness.workflow.trigger(Opening("breakwater", 1, 300.0)) is None


async def test_each_circuit_has_its_own_generations() -> None:
    harness = Harness()
    harness.begin(5)
    assert harness.workflow.trigger(Opening("other", 1)) is not None
    await harness.approval_requested(2)
    await harness.workflow.aclose()


async def test_a_newer_generation_ends_the_older_run_before_the_stop() -> None:
    """Otherwise an approval of the older run would start the app that the newer run stopped."""
    harness = Harness()
    old = harness.begin(1)
    await harness.approval_requested()
    new = harness.begin(2)
    await harness.approval_requested(2)
    assert old.state is RunState.CANCELLED
    assert step(old, "superseded").detail == "generation 2 opened"
    harness.approve(old)
    harness.approve(new)
    await harness.reaches(new, RunState.SUCCEEDED)
    assert harness.calls == ["stop", "approvals", "stop", "approvals", "start"]


async def test_a_passed_generation_needs_no_approval() -> None:
    def passed(request: Request, _body: bytes) -> Response:
        is_console = request.url.path == "/api/approvals"
        return JSONResponse({"status": "passed"}) if is_console else Response()

    harness = Harness(passed)
    run = harness.begin()
    await harness.reaches(run, RunState.SUCCEEDED)
    assert harness.calls == ["stop", "approvals", "start"]


async def test_actions_are_retried_as_in_logic_apps() -> None:
    statuses = iter([500, 429, 408, 503])

    def flaky(request: Request, _body: bytes) -> Response:
        is_stop = request.url.path.endswith("/stop")
        return Response(status_code=next(statuses, 200) if is_stop else 200)

    harness = Harness(flaky)
    run = harness.begin()
    await harness.approval_requested()
    assert harness.time.slept == [7.5, 15, 30, 45]
    assert step(run, "stop").attempts == 5
    assert step(run, "stop").status == "Succeeded"
    await harness.workflow.aclose()


async def test_an_approval_is_requested_after_a_failed_stop() -> None:
    """The circuit holds every event even if the app runs, so an operator must be notified."""

    def refuse_stop(request: Request, _body: bytes) -> Response:
        return Response("no", status_code=403 if request.url.path.endswith("/stop") else 200)

    harness = Harness(refuse_stop)
    run = harness.begin()
    await harness.approval_requested()
    assert step(run, "stop").status == "Failed"
    assert step(run, "stop").attempts == 1
    assert "403" in step(run, "stop").detail
    await harness.workflow.aclose()


async def test_a_failed_start_fails_the_run() -> None:
    def refuse_start(request: Request, _body: bytes) -> Response:
        return Response(status_code=500 if request.url.path.endswith("/start") else 200)

    harness = Harness(refuse_start)
    run = harness.begin()
    await harness.approval_requested()
    harness.approve(run)
    await harness.reaches(run, RunState.FAILED)
    assert step(run, "start").attempts == 5


async def test_approval_requests_are_retried_without_end() -> None:
    refusals = 20

    def reluctant(request: Request, _body: bytes) -> Response:
        is_console = request.url.path == "/api/approvals"
        return Response(status_code=401 if is_console and len(harness.calls) <= refusals else 200)

    harness = Harness(reluctant)
    run = harness.begin()
    await until(lambda: any(s.name == "request_approval" and s.detail for s in run.steps))
    await until(lambda: step(run, "request_approval").status == "Succeeded")
    assert step(run, "request_approval").attempts == refusals
    assert max(harness.time.slept) == 45
    await harness.workflow.aclose()


async def test_approval_before_the_consoles_answer_starts_the_app() -> None:
    def eager(request: Request, body: bytes) -> Response:
        if request.url.path == "/api/approvals":
            harness.approve(harness.workflow.runs()[0])
            return Response(status_code=500)
        return Response()

    harness = Harness(eager)
    run = harness.begin()
    await harness.reaches(run, RunState.SUCCEEDED)


async def test_a_repeated_callback_changes_nothing() -> None:
    harness = Harness()
    run = harness.begin()
    await harness.approval_requested()
    harness.approve(run)
    harness.approve(run)
    await harness.reaches(run, RunState.SUCCEEDED)
    harness.workflow.callback(run.id, run.sig, "bob")
    assert run.approved_by == "alice"
    assert harness.calls.count("start") == 1


async def test_a_callback_needs_the_runs_own_secret() -> None:
    harness = Harness()
    run = harness.begin()
    other = harness.workflow.trigger(Opening("other", 1))
    assert other is not None
    for sig in ("", other.sig, "ü"):
        with pytest.raises(CallbackRefusedError):
            harness.workflow.callback(run.id, sig, None)
    with pytest.raises(UnknownRunError):
        harness.workflow.callback("none", run.sig, None)
    assert run.approved_by is None
    await harness.workflow.aclose()


async def test_a_run_survives_a_restart(tmp_path: Path) -> None:
    """Otherwise the app would stay stopped after a crash."""
    path = tmp_path / "workflow.json"
    first = Harness(store=RunStore(path))
    run = first.begin()
    await first.approval_requested()
    await first.workflow.aclose()

    second = Harness(store=RunStore(path))
    second.workflow.resume()
    await second.approval_requested()
    [resumed] = second.workflow.runs()
    assert resumed.state is RunState.WAITING
    second.workflow.callback(run.id, run.sig, "alice")
    await second.reaches(resumed, RunState.SUCCEEDED)
    assert second.calls == ["approvals", "start"]


@pytest.mark.parametrize("skipped", [False, True])
async def test_only_one_run_continues_after_a_crash(skipped: bool) -> None:
    """Otherwise an approval of the older run would start the app that the newer run stopped."""
    store = RunStore()
    old = Run("breakwater", 1, state=RunState.WAITING, at=200.0)
    new = Run("breakwater", 2, at=100.0 if skipped else 300.0)
    store.save(old)
    store.save(new)
    harness = Harness(console_with_circuit(1), store)
    harness.workflow.resume()
    continued, ended = (old, new) if skipped else (new, old)
    await until(lambda: ended.state in {RunState.SKIPPED, RunState.CANCELLED})
    await until(lambda: "approvals" in harness.calls)
    harness.approve(ended)
    await until(lambda: continued.state is RunState.WAITING)
    assert "start" not in harness.calls
    harness.approve(continued)
    await harness.reaches(continued, RunState.SUCCEEDED)
    assert harness.calls.count("start") == 1


async def test_an_approval_survives_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "workflow.json"
    store = RunStore(path)
    run = Run("breakwater", 1, state=RunState.WAITING, approved_by="alice")
    store.save(run)
    harness = Harness(store=RunStore(path))
    harness.workflow.resume()
    await until(lambda: harness.workflow.runs()[0].state is RunState.SUCCEEDED)
    assert harness.calls == ["start"]


async def test_shutting_down_leaves_no_task() -> None:
    harness = Harness()
    run = harness.begin()
    await harness.approval_requested()
    await harness.workflow.aclose()
    assert harness.workflow._tasks == {}
    assert run.state is RunState.WAITING


def test_finished_runs_are_bounded_and_unfinished_ones_kept(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "workflow.json")
    waiting = Run("breakwater", 1, state=RunState.WAITING)
    store.save(waiting)
    for generation in range(2, KEPT_RUNS + 10):
        store.save(Run("breakwater", generation, state=RunState.SUCCEEDED))
    assert len(store.all()) == KEPT_RUNS
    assert store.all()[0] is waiting


def test_the_public_form_of_a_run_has_no_secret() -> None:
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
def test_only_temporary_errors_are_retried(status: int, retried: bool) -> None:
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
def test_a_valid_time_of_the_opening_is_read(time: object, at: float | None) -> None:
    """The time is optional; without a time only the generation is compared."""
    assert parse_openings(json.dumps(opening() | {"time": time}).encode()) == [Opening("b", 1, at)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x", "must be a CloudEvent"),
        ([1], "must be a CloudEvent"),
        ({"type": "breakwater.circuit.opened"}, "no data object"),
        (opening(name=""), "data.name is ''"),
        (opening(generation=0), "data.generation is 0"),
        (opening(generation=True), "data.generation is True"),
        (opening(generation="1"), "data.generation is '1'"),
    ],
)
def test_a_malformed_opening_is_refused_with_the_reason(value: object, message: str) -> None:
    with pytest.raises(TriggerError, match=message):
        parse_openings(json.dumps(value).encode())


def test_a_trigger_without_json_is_refused() -> None:
    with pytest.raises(TriggerError, match="not JSON"):
        parse_openings(b"{")
