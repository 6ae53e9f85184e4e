"""The execution of definitions on a simulated clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from local.workflow.definition import DefinitionError
from local.workflow.definition.status import Status
from local.workflow.runs.interpreter import Settings
from local.workflow.runs.record import RunRecord
from local.workflow.runs.requests import Answer, NoAnswerError, Request
from local.workflow.runs.store import KEPT_RUNS, RunStore
from local.workflow.runs.workflow import CallbackRefusedError, UnknownRunError, Workflow
from tests.support.local.simulated_clock import SimulatedClock

TRIGGER = {"t": {"type": "Request", "kind": "Http"}}
OK = Answer(200, {}, {"n": 1})


@dataclass
class Server:
    """A server that records requests; `reply` returns an answer or raises."""

    reply: Callable[[Request], Answer] = lambda _: OK
    requests: list[Request] = field(default_factory=list)

    async def send(self, request: Request) -> Answer:
        self.requests.append(request)
        await asyncio.sleep(0)
        return self.reply(request)


class Harness:
    """A workflow with some actions, on a simulated clock."""

    def __init__(
        self,
        actions: dict[str, Any],
        *replies: int | Answer | None,
        store: RunStore | None = None,
        clock: SimulatedClock | None = None,
        **more: Any,
    ) -> None:
        self.clock = clock or SimulatedClock()
        self.replies = list(replies)
        self.server = Server(self._reply)
        settings = Settings(
            self.server,
            {"p": "v"},
            "http://cloud/workflows",
            clock=self.clock,
            scale=more.pop("scale", 1.0),
            pick=lambda _, high: high,
        )
        document = {
            "parameters": {"p": {"type": "String"}},
            "triggers": TRIGGER,
            "actions": actions,
        }
        self.workflow = Workflow(document, settings, store or RunStore(), **more)

    def _reply(self, _: Request) -> Answer:
        reply = self.replies.pop(0) if self.replies else 200
        if reply is None:
            raise NoAnswerError("ConnectError")
        return reply if isinstance(reply, Answer) else Answer(reply, {}, "text")

    async def run(self, body: Any = None) -> RunRecord:
        run = self.workflow.trigger({"headers": {}, "body": body})
        await self.ends(run)
        return run

    async def ends(self, run: RunRecord) -> None:
        await self.clock.run_until(lambda: run.status.is_final)

    async def settle(self) -> None:
        await self.clock.advance(1e-6)


def compose(inputs: Any = 1, **after: list[str]) -> dict[str, Any]:
    return {"type": "Compose", "inputs": inputs, "runAfter": after}


def get(*, retry: Any = None, after: Any = None, **more: Any) -> dict[str, Any]:
    inputs: dict[str, Any] = {"method": "GET", "uri": "http://x/a"}
    if retry is not None:
        inputs["retryPolicy"] = retry
    return {"type": "Http", "inputs": inputs, "runAfter": after or {}} | more


def webhook(timeout: str | None = "PT1H", **more: Any) -> dict[str, Any]:
    subscribe = {"method": "POST", "uri": "http://x/sub", "body": {"url": "@listCallbackUrl()"}}
    limit = {"limit": {"timeout": timeout}} if timeout else {}
    inputs = {"subscribe": subscribe, "unsubscribe": {}} | more
    return {"type": "HttpWebhook", "inputs": inputs, "runAfter": {}} | limit


NONE = {"type": "none"}


def statuses(run: RunRecord) -> dict[str, str]:
    return {name: status.value for name, status in run.statuses(run.actions).items()}


async def test_actions_run_in_the_order_of_runafter() -> None:
    run = await Harness(
        {
            "C": compose("@concat(outputs('B'), triggerBody()?['x'])", B=["Succeeded"]),
            "B": compose("@{parameters('p')}!", A=["Succeeded"]),
            "A": compose(),
        }
    ).run({"x": "z"})
    assert (run.status, run.actions["C"].outputs) == (Status.SUCCEEDED, "v!z")
    assert list(run.actions) == ["A", "B", "C"]


async def test_a_failed_expression_skips_the_following_actions() -> None:
    actions = {
        "A": compose("@json('{')"),
        "B": compose("@outputs('A')", A=["Succeeded"]),
        "S": {
            "type": "Scope",
            "actions": {"I": compose()},
            "runAfter": {"B": ["Succeeded"]},
        },
    }
    run = await Harness(actions).run()
    assert run.status is Status.FAILED
    assert statuses(run) == {"A": "Failed", "B": "Skipped", "S": "Skipped", "I": "Skipped"}
    assert run.actions["A"].error.startswith("InvalidTemplate: ")
    run = await Harness(actions | {"C": compose("@outputs('B')", B=["Skipped"])}).run()
    assert statuses(run)["C"] == "Succeeded"
    assert run.actions["C"].outputs is None


async def test_a_failure_that_is_handled_does_not_fail_the_run() -> None:
    actions = {"A": get(retry=NONE), "B": compose("@actions('A')['status']", A=["Failed"])}
    run = await Harness(actions, 404).run()
    assert (run.status, run.actions["B"].outputs) == (Status.SUCCEEDED, "Failed")


async def test_parallel_branches_decide_together() -> None:
    run = await Harness({"A": get(retry=NONE), "B": compose()}, 500).run()
    assert run.status is Status.FAILED


async def test_outputs_of_a_request_are_status_headers_and_body() -> None:
    actions = {"A": get(), "B": compose("@body('A')['n']", A=["Succeeded"])}
    run = await Harness(actions, OK).run()
    assert run.actions["B"].outputs == 1
    assert run.actions["A"].outputs == {"statusCode": 200, "headers": {}, "body": {"n": 1}}


@pytest.mark.parametrize(
    ("replies", "attempts", "seconds", "status"),
    [
        ([408, 429, 500, 503, 200], 5, 7.5 + 15 + 30 + 45, Status.SUCCEEDED),
        ([None, 200], 2, 7.5, Status.SUCCEEDED),
        ([500] * 9, 5, 7.5 + 15 + 30 + 45, Status.FAILED),
        ([None] * 9, 5, 7.5 + 15 + 30 + 45, Status.FAILED),
        ([409, 200], 1, 0, Status.FAILED),
        ([503, 404, 200], 2, 7.5, Status.FAILED),
        ([302, 200], 1, 0, Status.FAILED),
    ],
)
async def test_requests_are_retried_as_documented(
    replies: list[int | None], attempts: int, seconds: float, status: Status
) -> None:
    harness = Harness({"A": get()}, *replies)
    run = await harness.run()
    assert (run.status, run.actions["A"].attempts) == (status, attempts)
    assert harness.clock.passed == seconds


async def test_one_scale_applies_to_every_duration() -> None:
    loop = {
        "type": "Until",
        "expression": "@false",
        "actions": {"W": {"type": "Wait", "inputs": {"interval": {"count": 30, "unit": "Minute"}}}},
    }
    harness = Harness({"A": get(), "L": loop, "H": webhook()}, 500, scale=0.1)
    run = await harness.run()
    times = {name: run.actions[name].ended or 0 for name in "ALH"}
    assert {name: round(end - run.started, 3) for name, end in times.items()} == {
        "A": 0.75,
        "L": 360,
        "H": 360,
    }


async def test_the_limit_of_a_request_times_out() -> None:
    harness = Harness({"A": get(limit={"timeout": "PT20S"})}, *[500] * 9)
    run = await harness.run()
    assert (statuses(run), harness.clock.passed) == ({"A": "TimedOut"}, 20)
    assert run.status is Status.FAILED


async def test_an_accepted_request_is_polled() -> None:
    accepted = Answer(202, {"location": "http://x/poll", "retry-after": "5"}, None)
    harness = Harness({"A": get()}, accepted, accepted, OK)
    run = await harness.run()
    assert [request.uri for request in harness.server.requests] == ["http://x/a"] + [
        "http://x/poll"
    ] * 2
    assert (run.status, harness.clock.passed) == (Status.SUCCEEDED, 10)
    harness = Harness({"A": get(operationOptions="DisableAsyncPattern")}, accepted)
    run = await harness.run()
    assert run.actions["A"].outputs["statusCode"] == 202
    assert len(harness.server.requests) == 1


async def test_the_branch_that_is_not_taken_is_skipped() -> None:
    actions = {
        "I": {
            "type": "If",
            "expression": {"equals": ["@triggerBody()", 1]},
            "actions": {"Y": get(retry=NONE)},
            "else": {"actions": {"N": compose()}},
        },
        "A": compose(1, I=["Succeeded"]),
    }
    run = await Harness(actions).run(1)
    assert statuses(run) == {"I": "Succeeded", "N": "Skipped", "Y": "Succeeded", "A": "Succeeded"}
    run = await Harness(actions).run(2)
    assert statuses(run) == {"I": "Succeeded", "Y": "Skipped", "N": "Succeeded", "A": "Succeeded"}
    run = await Harness(actions, 400).run(1)
    assert (statuses(run)["I"], statuses(run)["A"]) == ("Failed", "Skipped")
    assert run.status is Status.FAILED


async def test_a_condition_that_fails_skips_both_branches() -> None:
    actions = {"I": {"type": "If", "expression": "@triggerBody()", "actions": {"Y": compose()}}}
    run = await Harness(actions).run("text")
    assert statuses(run) == {"I": "Failed", "Y": "Skipped"}


async def test_terminate_ends_the_run_with_its_status() -> None:
    """Running actions are cancelled, and the remaining actions are skipped."""
    actions = {
        "H": webhook(),
        "I": {
            "type": "If",
            "expression": "@true",
            "actions": {"E": {"type": "Terminate", "inputs": {"runStatus": "Cancelled"}}},
        },
        "A": compose(1, I=["Succeeded", "Failed", "Skipped", "TimedOut"]),
    }
    run = await Harness(actions).run()
    assert run.status is Status.CANCELLED
    assert statuses(run) == {"H": "Cancelled", "I": "Cancelled", "E": "Succeeded", "A": "Skipped"}


def loop(**more: Any) -> dict[str, Any]:
    return {"type": "Until", "expression": "@equals(body('A'), 'done')"} | more


async def test_a_loop_repeats_until_its_condition_holds() -> None:
    actions = {"L": loop(actions={"A": get(retry=NONE)}), "B": compose(1, L=["Succeeded"])}
    harness = Harness(actions, 500, 404, Answer(200, {}, "done"))
    run = await harness.run()
    assert (run.status, run.actions["L"].iteration) == (Status.SUCCEEDED, 2)
    assert len(harness.server.requests) == 3


def variable(kind: str, **value: Any) -> dict[str, Any]:
    first = {"name": "x", "type": kind} | value
    return {"type": "InitializeVariable", "inputs": {"variables": [first]}}


async def test_a_variable_keeps_its_value_over_iterations() -> None:
    """A loop adds to the variable; actions after the loop read the sum."""
    harness = Harness(
        {
            "V": variable("Integer", value=5),
            "L": {
                "type": "Until",
                "expression": "@equals(variables('x'), 11)",
                "actions": {
                    "I": {"type": "IncrementVariable", "inputs": {"name": "x", "value": 2}}
                },
                "runAfter": {"V": ["Succeeded"]},
            },
            "A": compose("@variables('x')", L=["Succeeded"]),
        }
    )
    run = await harness.run()
    assert (run.status, run.actions["A"].outputs) == (Status.SUCCEEDED, 11)


@pytest.mark.parametrize(
    ("kind", "first"),
    [("String", ""), ("Boolean", False), ("Object", {}), ("Array", []), ("Float", 0.0)],
)
async def test_a_variable_begins_empty(kind: str, first: Any) -> None:
    harness = Harness({"V": variable(kind), "A": compose("@variables('x')", V=["Succeeded"])})
    assert (await harness.run()).actions["A"].outputs == first


async def test_a_value_of_a_wrong_type_fails() -> None:
    """A variable keeps its type; the failed action leaves the value unchanged."""
    harness = Harness(
        {
            "V": variable("String", value="a"),
            "S": {
                "type": "SetVariable",
                "inputs": {"name": "x", "value": 1},
                "runAfter": {"V": ["Succeeded"]},
            },
            "A": compose("@variables('x')", S=["Failed"]),
        }
    )
    run = await harness.run()
    assert (
        run.actions["S"].error == "InvalidTemplate: the variable x is of type string, not Integer"
    )
    assert run.actions["A"].outputs == "a"


async def test_variables_survive_a_restart(tmp_path: Path) -> None:
    """The next process reads the value that the earlier process set."""
    actions = {
        "V": variable("String", value="kept"),
        "W": {
            "type": "Wait",
            "inputs": {"interval": {"count": 1, "unit": "Hour"}},
            "runAfter": {"V": ["Succeeded"]},
        },
        "A": compose("@variables('x')", W=["Succeeded"]),
    }
    first = Harness(actions, store=RunStore(tmp_path))
    run = first.workflow.trigger({})
    await first.settle()
    await first.workflow.aclose()
    second = Harness(actions, store=RunStore(tmp_path), clock=first.clock)
    second.workflow.resume()
    [resumed] = second.workflow.runs()
    await second.ends(resumed)
    assert (resumed.id, resumed.actions["A"].outputs) == (run.id, "kept")


@pytest.mark.parametrize(
    ("more", "replies", "status", "requests"),
    [
        ({}, [200] * 60, "Succeeded", 60),
        ({"limit": {"count": 2}}, [200, 200], "Succeeded", 2),
        ({"limit": {"count": 2}}, [404, 404], "Failed", 2),
        ({"limit": {"count": 2}}, [404, 200], "Succeeded", 2),
        (
            {"limit": {"count": 2}, "operationOptions": "FailWhenLimitsReached"},
            [200, 200],
            "Failed",
            2,
        ),
    ],
)
async def test_a_loop_at_its_limit_counts_as_succeeded(
    more: dict[str, Any], replies: list[int], status: str, requests: int
) -> None:
    harness = Harness({"L": loop(actions={"A": get(retry=NONE)}, **more)}, *replies)
    run = await harness.run()
    assert statuses(run)["L"] == status
    assert len(harness.server.requests) == requests


async def test_the_timeout_of_a_loop_does_not_stop_an_iteration() -> None:
    wait = {"type": "Wait", "inputs": {"interval": {"count": 40, "unit": "Minute"}}}
    harness = Harness({"L": {"type": "Until", "expression": "@false", "actions": {"W": wait}}})
    run = await harness.run()
    assert (run.status, harness.clock.passed) == (Status.SUCCEEDED, 80 * 60)


def callback_of(request: Request) -> tuple[str, str, str]:
    parts = urlsplit(request.body["url"])
    query = parse_qs(parts.query)
    assert parts.path.startswith("/workflows/runs/")
    return parts.path.split("/")[3], query["id"][0], query["sig"][0]


async def test_a_webhook_waits_for_its_callback() -> None:
    actions = {"H": webhook(), "A": compose("@body('H')?['by']", H=["Succeeded"])}
    harness = Harness(actions)
    run = harness.workflow.trigger({"body": None})
    await harness.clock.advance(60)
    assert not run.status.is_final
    [request] = harness.server.requests
    url = callback_of(request)
    with pytest.raises(CallbackRefusedError):
        harness.workflow.callback(*url[:2], "ü", {})
    with pytest.raises(UnknownRunError):
        harness.workflow.callback("none", *url[1:], {})
    with pytest.raises(UnknownRunError):
        harness.workflow.callback(url[0], "none", url[2], {})
    harness.workflow.callback(*url, {"headers": {}, "body": {"by": "alice"}})
    harness.workflow.callback(*url, {"headers": {}, "body": {"by": "bob"}})
    await harness.ends(run)
    assert (run.status, run.actions["A"].outputs) == (Status.SUCCEEDED, "alice")
    with pytest.raises(UnknownRunError):
        harness.workflow.callback(*url, {})


async def test_a_webhook_times_out_and_unsubscribes() -> None:
    actions = {
        "H": webhook(unsubscribe={"method": "DELETE", "uri": "http://x/unsub"}),
        "A": compose(1, H=["TimedOut"]),
    }
    harness = Harness(actions)
    run = await harness.run()
    assert (statuses(run), harness.clock.passed) == ({"H": "TimedOut", "A": "Succeeded"}, 3600)
    assert run.status is Status.SUCCEEDED
    assert [request.method for request in harness.server.requests] == ["POST", "DELETE"]


async def test_a_refused_subscription_is_final() -> None:
    harness = Harness({"H": webhook()}, 401)
    run = await harness.run()
    assert (statuses(run), run.actions["H"].attempts) == ({"H": "Failed"}, 1)
    harness = Harness({"H": webhook()}, *[503] * 9)
    run = await harness.run()
    assert (statuses(run), run.actions["H"].attempts) == ({"H": "Failed"}, 5)


@pytest.mark.parametrize("accepts", [True, False])
async def test_an_early_callback_is_accepted_or_refused(accepts: bool) -> None:
    """A callback is early before the answer to the subscribing request."""
    outcomes: list[str] = []

    def reply(request: Request) -> Answer:
        try:
            harness.workflow.callback(*callback_of(request), {"body": None})
        except UnknownRunError:
            outcomes.append("refused")
        else:
            outcomes.append("accepted")
        return OK

    harness = Harness({"H": webhook()}, accepts_early_callbacks=accepts)
    harness.server.reply = reply
    run = await harness.run()
    assert outcomes == ["accepted" if accepts else "refused"]
    assert statuses(run) == {"H": "Succeeded" if accepts else "TimedOut"}


async def test_a_loop_asks_again_with_a_new_callback() -> None:
    """The callback of an earlier iteration is unknown."""
    actions = {
        "L": {
            "type": "Until",
            "expression": "@equals(actions('H')['status'], 'Succeeded')",
            "actions": {"H": webhook("PT10M")},
            "limit": {"count": 5, "timeout": "P1D"},
        }
    }
    harness = Harness(actions)
    run = harness.workflow.trigger({"body": None})
    await harness.clock.run_until(lambda: len(harness.server.requests) == 2)
    await harness.settle()
    first, second = map(callback_of, harness.server.requests)
    assert first[1] != second[1]
    with pytest.raises(UnknownRunError):
        harness.workflow.callback(*first, {})
    harness.workflow.callback(*second, {"body": None})
    await harness.ends(run)
    assert (run.status, run.actions["L"].iteration) == (Status.SUCCEEDED, 1)


async def test_a_run_survives_a_restart(tmp_path: Path) -> None:
    """Finished actions do not run again, and the callback's address stays valid."""
    actions = {"A": get(), "H": webhook() | {"runAfter": {"A": ["Succeeded"]}}, "B": get()}
    actions["B"]["runAfter"] = {"H": ["Succeeded"]}
    first = Harness(actions, store=RunStore(tmp_path))
    first.workflow.trigger({"body": None})
    await first.clock.advance(60)
    await first.workflow.aclose()
    second = Harness({"X": compose()}, store=RunStore(tmp_path), clock=first.clock)
    second.workflow.resume()
    second.workflow.resume()
    await second.settle()
    [run] = second.workflow.runs()
    second.workflow.callback(*callback_of(first.server.requests[1]), {"body": None})
    await second.ends(run)
    assert run.status is Status.SUCCEEDED
    assert statuses(run) == {"A": "Succeeded", "H": "Succeeded", "B": "Succeeded"}
    assert [request.uri for request in second.server.requests] == ["http://x/a"]


async def test_retries_and_limits_continue_after_a_restart(tmp_path: Path) -> None:
    first = Harness({"A": get(), "H": webhook()}, 503, 200, store=RunStore(tmp_path))
    first.workflow.trigger({"body": None})
    await first.clock.advance(5)
    await first.workflow.aclose()
    second = Harness({}, 503, store=RunStore(tmp_path), clock=first.clock)
    second.workflow.resume()
    [run] = second.workflow.runs()
    await second.ends(run)
    assert run.actions["A"].attempts == 3
    assert (run.actions["A"].ended or 0) - run.started == 7.5 + 15
    assert (run.actions["H"].ended or 0) - run.started == 3600


async def test_a_callback_before_a_crash_is_kept(tmp_path: Path) -> None:
    first = Harness({"H": webhook()}, store=RunStore(tmp_path))
    first.workflow.trigger({"body": None})
    await first.settle()
    await first.workflow.aclose()
    first.workflow.callback(*callback_of(first.server.requests[0]), {"body": {"by": "alice"}})
    second = Harness({}, store=RunStore(tmp_path), clock=first.clock)
    second.workflow.resume()
    [run] = second.workflow.runs()
    await second.ends(run)
    assert run.actions["H"].outputs == {"body": {"by": "alice"}}
    assert second.server.requests == []


async def test_a_loop_continues_in_its_iteration(tmp_path: Path) -> None:
    wait = {"type": "Wait", "inputs": {"interval": {"count": 1, "unit": "Minute"}}}
    actions = {
        "L": {
            "type": "Until",
            "expression": "@equals(iterationIndexes('L'), 3)",
            "actions": {"W": wait, "A": get(after={"W": ["Succeeded"]})},
        }
    }
    first = Harness(actions, store=RunStore(tmp_path))
    first.workflow.trigger({"body": None})
    await first.clock.advance(150)
    await first.workflow.aclose()
    second = Harness({}, store=RunStore(tmp_path), clock=first.clock)
    second.workflow.resume()
    [run] = second.workflow.runs()
    await second.ends(run)
    assert (len(first.server.requests), len(second.server.requests)) == (2, 2)
    assert first.clock.passed == 240


async def test_shutting_down_leaves_no_task() -> None:
    harness = Harness({"H": webhook(), "A": get()}, 200, 503)
    run = harness.workflow.trigger({"body": None})
    await harness.settle()
    before = len(asyncio.all_tasks())
    await harness.workflow.aclose()
    assert len(asyncio.all_tasks()) == 1 < before
    assert run.status is Status.RUNNING


async def test_a_run_whose_definition_is_lost_fails(tmp_path: Path) -> None:
    first = Harness({"H": webhook()}, store=RunStore(tmp_path))
    first.workflow.trigger({"body": None})
    await first.workflow.aclose()
    for file in (tmp_path / "definitions").iterdir():
        file.unlink()
    second = Harness({}, store=RunStore(tmp_path))
    second.workflow.resume()
    assert [run.status for run in second.workflow.runs()] == [Status.FAILED]


def test_a_parameter_without_a_value_is_refused() -> None:
    document = {"parameters": {"q": {"type": "String"}}, "triggers": TRIGGER, "actions": {}}
    settings = Settings(Server(), {}, "http://cloud")
    with pytest.raises(DefinitionError, match="parameters without a value: q"):
        Workflow(document, settings, RunStore())
    Workflow(
        document | {"parameters": {"q": {"type": "String", "defaultValue": ""}}},
        settings,
        RunStore(),
    )


def test_finished_runs_are_bounded_and_unfinished_ones_kept(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    waiting = RunRecord("d", {}, 0.0)
    store.save(waiting)
    for second in range(1, KEPT_RUNS + 5):
        store.save(RunRecord("d", {}, float(second), status=Status.SUCCEEDED))
    for found in (store.all(), RunStore(tmp_path).all()):
        assert len(found) == KEPT_RUNS
        assert found[0].id == waiting.id


def test_secrets_are_not_in_the_repr() -> None:
    run = RunRecord("d", {}, 0.0)
    assert run.sig not in repr(run)
    assert run.sig in json.dumps(run.as_json())
    assert "secret" not in repr(Settings(Server(), {"p": "secret"}, "http://cloud"))
