"""The deployed workflow, executed by the local interpreter on a simulated clock."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from breaker.alerts.base import Alert
from breaker.alerts.event_grid import cloud_event
from console.app import create_app
from console.settings import ConsoleSettings
from local.workflow import Workflow
from local.workflow.definition.retry import is_retried
from local.workflow.definition.status import Status
from local.workflow.routes import OPENED
from local.workflow.runs.interpreter import Settings
from local.workflow.runs.record import RunRecord
from local.workflow.runs.requests import Answer, HttpSender, NoAnswerError, Request
from local.workflow.runs.store import RunStore
from tests.support.breaker.unreliable_store import UnreliableStore
from tests.support.local.simulated_clock import SimulatedClock

INFRA = Path(__file__).parents[3] / "infra"
DEFINITION: dict[str, Any] = json.loads((INFRA / "workflow.json").read_text())
PARAMETERS = {
    "functionAppUrl": "https://arm/sites/app",
    "managementAudience": "https://arm/",
    "consoleUrl": "https://console",
    "consoleToken": "token",
    "mailEndpoint": "https://mail",
    "mailFrom": "from@example.org",
    "mailTo": "",
}
ALERT = Alert(
    id="breakwater:3:opened",
    type=OPENED,
    name="breakwater",
    generation=3,
    at=1_800_000_000.123456,
    data={"name": "breakwater", "generation": 3},
)
EVENT: dict[str, Any] = json.loads(
    json.dumps(
        {
            "id": ALERT.id,
            "type": ALERT.type,
            "time": "2027-01-15T08:00:00.123456Z",
            "data": cloud_event(ALERT).data,
        }
    )
)
BANK = {"name": "breakwater/bank", "kind": "dependency", "dependency": "bank"}
ORDERS = {"name": "breakwater-orders", "kind": "pipeline"}
KEEP_APP_RUNNING = [BANK, ORDERS]
BINARY = {
    "$content-type": "application/cloudevents+json; charset=utf-8",
    "$content": base64.b64encode(json.dumps(EVENT).encode()).decode(),
}
OPEN = {"state": "open", "generation": 3}

type Reply = Callable[[], Answer]


def json_answer(value: Any, status: int = 200) -> Answer:
    return Answer(status, {"content-type": "application/json"}, value)


def no_answer() -> Answer:
    raise NoAnswerError("ConnectError")


class Chain:
    """The workflow with fake management, console and mail endpoints.

    Attributes:
        replies: answers for the last part of a path; the default is an open circuit and 200.
    """

    def __init__(self, **parameters: str) -> None:
        self.clock = SimulatedClock()
        self.requests: list[Request] = []
        self.replies: dict[str, Reply] = dict.fromkeys(
            ("breakwater", "breakwater-orders", "breakwater%2Fbank"), lambda: json_answer(OPEN)
        )
        settings = Settings(
            self, PARAMETERS | parameters, "https://callback", clock=self.clock, pick=max
        )
        self.workflow = Workflow(DEFINITION, settings, RunStore())

    async def send(self, request: Request) -> Answer:
        self.requests.append(request)
        await asyncio.sleep(0)
        reply = self.replies.get(self.name(request))
        return Answer(200, {}, None) if reply is None else reply()

    @staticmethod
    def name(request: Request) -> str:
        return urlsplit(request.uri).path.rpartition("/")[2]

    @property
    def calls(self) -> list[str]:
        return [self.name(request) for request in self.requests]

    def begin(self, body: Any = BINARY) -> RunRecord:
        return self.workflow.trigger({"headers": {}, "body": body})

    async def waits(self, run: RunRecord) -> None:
        await self.clock.run_until(
            lambda: (
                (record := run.actions.get("Wait_for_decision")) is not None
                and record.subscribed
                and not record.status.is_final
            )
        )

    async def approve(self) -> None:
        """Call the latest callback back."""
        *_, request = [each for each in self.requests if self.name(each) == "approvals"]
        parts = urlsplit(request.body["callbackUrl"])
        query = parse_qs(parts.query)
        run_id = parts.path.split("/")[2]
        self.workflow.callback(run_id, query["id"][0], query["sig"][0], {"body": {"by": "ann"}})

    async def ends(self, run: RunRecord) -> None:
        await self.clock.run_until(lambda: run.status.is_final)


@pytest.mark.parametrize("body", [EVENT, BINARY])
async def test_an_approved_opening_stops_and_starts_the_app(body: Any) -> None:
    """The body of the trigger is JSON or base64, which the documentation leaves open."""
    chain = Chain()
    run = chain.begin(body)
    await chain.waits(run)
    await chain.approve()
    await chain.ends(run)
    assert run.status is Status.SUCCEEDED
    assert [(request.method, request.uri, request.queries) for request in chain.requests] == [
        ("GET", "https://console/api/circuits/breakwater", {}),
        ("POST", "https://arm/sites/app/stop", {"api-version": "2025-03-01"}),
        ("POST", "https://console/api/approvals", {}),
        ("GET", "https://console/api/circuits/breakwater", {}),
        ("POST", "https://arm/sites/app/start", {"api-version": "2025-03-01"}),
        ("POST", "https://console/api/approvals/steps", {}),
    ]
    for request in chain.requests:
        token = {"Authorization": "Bearer token"} if "console" in request.uri else {}
        assert request.headers == token
    asked = chain.requests[2].body
    assert asked.pop("callbackUrl").startswith("https://callback/runs/")
    names = {"circuit": "breakwater", "generation": 3, "run": run.id}
    stop = {"status": "Succeeded", "code": 200, "at": "2027-01-15T08:00:00Z"}
    assert asked == names | {
        "openedAt": EVENT["time"],
        "waitsFor": "approval",
        "stop": stop,
        "start": None,
    }
    assert chain.requests[-1].body == names | {"start": stop, "ended": True}


@pytest.mark.parametrize(
    ("circuit", "passed"),
    [
        ({"generation": 3, "state": "open"}, False),
        ({"generation": 3, "state": "half_open"}, True),
        ({"generation": 3, "state": "closed"}, True),
        ({"generation": 4, "state": "open"}, True),
        ({"generation": 1, "state": "open"}, True),
        ({}, False),
    ],
)
async def test_an_opening_that_has_passed_changes_nothing(
    circuit: dict[str, Any], passed: bool
) -> None:
    """A lower generation means that the store was emptied after the opening."""
    chain = Chain()
    chain.replies["breakwater"] = lambda: json_answer(circuit)
    run = chain.begin()
    if passed:
        await chain.ends(run)
        assert (run.status, chain.calls) == (Status.CANCELLED, ["breakwater"])
    else:
        await chain.waits(run)
        assert chain.calls == ["breakwater", "stop", "approvals"]


@pytest.mark.parametrize(
    "reply",
    [
        lambda: json_answer({"error": "x"}, 503),
        lambda: Answer(404, {"content-type": "text/html"}, "<html>"),
        no_answer,
    ],
)
async def test_app_is_stopped_and_started_although_the_console_failed(reply: Reply) -> None:
    """A console that does not answer after the approval delays the start by four hours at most."""
    chain = Chain()
    chain.replies["breakwater"] = reply
    run = chain.begin()
    await chain.waits(run)
    approved = chain.clock.now()
    await chain.approve()
    await chain.ends(run)
    assert run.status is Status.SUCCEEDED
    assert chain.calls[-2:] == ["start", "steps"]
    assert chain.clock.now() - approved == 4 * 3600


@pytest.mark.parametrize(
    ("reply", "code", "seconds"),
    [
        (lambda: Answer(403, {}, "no"), 403, 6 * 60),
        (lambda: Answer(409, {}, "busy"), 409, 6 * 60),
        (no_answer, None, 6 * (60 + 2 * 10)),
    ],
)
async def test_approval_is_requested_although_the_stop_failed(
    reply: Reply, code: int | None, seconds: float
) -> None:
    """The circuit holds all events; the request says that the app could not be stopped."""
    chain = Chain()
    chain.replies["stop"] = reply
    await chain.waits(chain.begin())
    assert set(chain.calls) == {"breakwater", "stop", "approvals"}
    assert chain.clock.passed == seconds
    stop = chain.requests[-1].body["stop"]
    assert (stop["status"], stop["code"]) == ("Failed", code)


async def test_a_stop_is_repeated_while_another_operation_runs() -> None:
    """A site with another operation answers 409, which the service does not repeat by itself."""
    chain = Chain()
    answers = [409, 409, 200]
    chain.replies["stop"] = lambda: Answer(answers.pop(0), {}, None)
    await chain.waits(chain.begin())
    assert chain.calls == ["breakwater", "stop", "stop", "stop", "approvals"]
    assert chain.requests[-1].body["stop"]["status"] == "Succeeded"


async def test_an_approval_is_requested_again() -> None:
    """A callback that is lost with the store is replaced within half an hour."""
    chain = Chain()
    run = chain.begin()
    await chain.waits(run)
    await chain.clock.advance(3 * 1800 + 1)
    assert chain.calls.count("approvals") == 4
    requests = [each.body for each in chain.requests if chain.name(each) == "approvals"]
    assert len({each["callbackUrl"] for each in requests}) == 4
    assert len({json.dumps(each | {"callbackUrl": ""}) for each in requests}) == 1
    await chain.approve()
    await chain.ends(run)
    assert run.status is Status.SUCCEEDED


@pytest.mark.parametrize("status", [401, 404, 409, 503])
async def test_a_refused_registration_is_repeated(status: int) -> None:
    """The service repeats 503 only; the workflow repeats every refusal after three minutes."""
    chain = Chain()
    chain.replies["approvals"] = lambda: Answer(status, {}, None)
    run = chain.begin()
    await chain.clock.advance(2 * 3600)
    assert not run.status.is_final
    del chain.replies["approvals"]
    await chain.waits(run)
    assert chain.clock.passed <= 2 * 3600 + 200


async def test_a_run_that_nobody_answers_fails_after_thirty_days() -> None:
    """A failed run is an alarm: the app may be left stopped."""
    chain = Chain()
    run = chain.begin()
    await chain.ends(run)
    assert (run.status, "start" in chain.calls) == (Status.FAILED, False)
    assert 30 * 86400 <= chain.clock.passed < 30 * 86400 + 3600


async def test_run_of_an_older_opening_does_not_start_the_app() -> None:
    chain = Chain()
    run = chain.begin()
    await chain.waits(run)
    chain.replies["breakwater"] = lambda: json_answer({"state": "open", "generation": 4})
    await chain.approve()
    await chain.ends(run)
    assert (run.status, "start" in chain.calls) == (Status.SUCCEEDED, False)


async def test_isolating_while_an_approval_waits_starts_the_app() -> None:
    """Instances hold by themselves, and no other run would start the app."""
    chain = Chain()
    run = chain.begin()
    await chain.waits(run)
    chain.replies["breakwater"] = lambda: json_answer({"state": "isolated", "generation": 4})
    await chain.approve()
    await chain.ends(run)
    assert "start" in chain.calls


@pytest.mark.parametrize(
    "reply", [lambda: Answer(403, {}, "no"), lambda: Answer(409, {}, "busy"), no_answer]
)
async def test_a_start_that_is_refused_is_asked_for_and_tried_again(reply: Reply) -> None:
    """After five refusals an operator can press Start; without one, the run tries again."""
    chain = Chain()
    chain.replies["start"] = reply
    run = chain.begin()
    await chain.waits(run)
    await chain.approve()
    await chain.clock.run_until(lambda: chain.calls.count("approvals") == 2)
    asked = chain.requests[-1].body
    assert (asked["waitsFor"], asked["start"]["status"]) == ("start", "Failed")
    assert chain.calls.count("start") == 5
    await chain.clock.run_until(lambda: chain.calls.count("approvals") == 3)
    assert chain.calls.count("start") == 10
    del chain.replies["start"]
    await chain.waits(run)
    await chain.approve()
    await chain.ends(run)
    assert run.status is Status.SUCCEEDED


async def test_older_run_does_not_repeat_a_start_after_a_newer_opening() -> None:
    """The circuit is looked up before each start."""
    chain = Chain()
    chain.replies["start"] = lambda: Answer(409, {}, "busy")
    run = chain.begin()
    await chain.waits(run)
    await chain.approve()
    await chain.clock.run_until(lambda: "start" in chain.calls)
    chain.replies["breakwater"] = lambda: json_answer({"state": "open", "generation": 4})
    await chain.ends(run)
    assert (run.status, chain.calls.count("start")) == (Status.SUCCEEDED, 1)


@pytest.mark.parametrize("reply", [lambda: Answer(403, {}, "no"), no_answer])
@pytest.mark.parametrize("name", ["emails:send", "steps"])
async def test_a_mail_or_a_report_that_fails_does_not_fail_the_run(reply: Reply, name: str) -> None:
    """A failed run is an alarm that the app may be left stopped, but the app runs."""
    chain = Chain(mailTo="to@example.org")
    chain.replies[name] = reply
    run = chain.begin()
    await chain.waits(run)
    await chain.approve()
    await chain.ends(run)
    assert run.status is Status.SUCCEEDED
    assert name in chain.calls


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (lambda: Answer(200, {}, None), "Azure accepted the call to stop the function app at 2027"),
        (lambda: Answer(409, {}, None), "The function app could not be stopped (HTTP 409, at 2027"),
        (no_answer, "The function app could not be stopped (no answer, at 2027"),
    ],
)
async def test_mail_says_what_was_seen_of_the_stop(reply: Reply, says: str) -> None:
    chain = Chain(mailTo="to@example.org")
    chain.replies["stop"] = reply
    await chain.waits(chain.begin())
    [mail] = [request for request in chain.requests if request.uri.startswith("https://mail")]
    assert says in mail.body["content"]["plainText"]


async def test_a_repeated_mail_request_is_recognisable() -> None:
    """The service sends one mail for the same request id within five minutes."""
    chain = Chain(mailTo="to@example.org")
    answers = [503, 503, 202]
    chain.replies["emails:send"] = lambda: Answer(answers.pop(0), {}, None)
    run = chain.begin()
    await chain.waits(run)
    await chain.clock.run_until(lambda: not answers)
    mails = [
        request.headers for request in chain.requests if request.uri.startswith("https://mail")
    ]
    assert mails[0] == mails[1] == mails[2]
    assert uuid.UUID(mails[0]["Repeatability-Request-ID"])
    assert mails[0]["Repeatability-First-Sent"] == "Fri, 15 Jan 2027 08:00:00 GMT"


async def test_operator_is_mailed_while_the_approval_waits() -> None:
    chain = Chain(mailTo="to@example.org")
    await chain.waits(chain.begin())
    [mail] = [request for request in chain.requests if request.uri.startswith("https://mail")]
    assert (mail.uri, mail.queries) == (
        "https://mail/emails:send",
        {"api-version": "2023-03-31"},
    )
    assert mail.body["senderAddress"] == "from@example.org"
    assert mail.body["recipients"] == {"to": [{"address": "to@example.org"}]}
    text = mail.body["content"]["plainText"]
    assert "breakwater opened, generation 3" in text
    assert text.endswith("https://console/?circuit=breakwater&generation=3")


def path(of: dict[str, str]) -> str:
    """Return the last part of the console's address of a circuit."""
    return quote(of["name"], safe="")


def opening(**data: object) -> dict[str, Any]:
    return EVENT | {"data": EVENT["data"] | data}


@pytest.mark.parametrize("recovery", ["manual", "later", None])
@pytest.mark.parametrize("of", KEEP_APP_RUNNING)
async def test_other_kinds_are_asked_for_without_a_stop_and_a_start(
    of: dict[str, str], recovery: object
) -> None:
    """Such a circuit holds only the events of its pipeline, or those that need its dependency."""
    chain = Chain(mailTo="to@example.org")
    run = chain.begin(opening(**of, recovery=recovery))
    await chain.waits(run)
    await chain.approve()
    await chain.ends(run)
    assert run.status is Status.SUCCEEDED
    assert sorted(chain.calls) == ["approvals", path(of), "emails:send", "steps"]
    [asked] = [each.body for each in chain.requests if chain.name(each) == "approvals"]
    assert (asked["circuit"], asked["waitsFor"]) == (of["name"], "approval")
    assert (asked["stop"], asked["start"]) == (None, None)
    ended = chain.requests[-1].body
    assert (ended["circuit"], ended["ended"], ended["start"]) == (of["name"], True, None)


async def test_mail_about_a_dependency_claims_no_stop() -> None:
    chain = Chain(mailTo="to@example.org")
    await chain.waits(chain.begin(opening(**BANK, recovery="manual")))
    [mail] = [request for request in chain.requests if request.uri.startswith("https://mail")]
    content = mail.body["content"]
    assert content["subject"] == "Circuit breakwater/bank opened and needs your approval"
    assert "holds the events that need this dependency" in content["plainText"]
    assert "does not stop the function app" in content["plainText"]
    assert "all events" not in content["plainText"]
    assert "accepted" not in content["plainText"]
    assert content["plainText"].endswith("/?circuit=breakwater%2Fbank&generation=3")


async def test_mail_about_a_pipeline_names_its_circuit_and_claims_no_stop() -> None:
    chain = Chain(mailTo="to@example.org")
    await chain.waits(chain.begin(opening(**ORDERS, recovery="manual")))
    [mail] = [request for request in chain.requests if request.uri.startswith("https://mail")]
    content = mail.body["content"]
    assert content["subject"] == "Circuit breakwater-orders opened and needs your approval"
    assert "holds the events of its pipeline" in content["plainText"]
    assert "does not stop the function app" in content["plainText"]
    assert "all events" not in content["plainText"]
    assert "accepted" not in content["plainText"]
    assert content["plainText"].endswith("/?circuit=breakwater-orders&generation=3")


@pytest.mark.parametrize("of", KEEP_APP_RUNNING)
async def test_circuit_that_recovers_by_itself_ends_the_run_at_once(of: dict[str, str]) -> None:
    chain = Chain(mailTo="to@example.org")
    run = chain.begin(opening(**of, recovery="automatic"))
    await chain.ends(run)
    assert (run.status, chain.calls) == (Status.CANCELLED, [])


@pytest.mark.parametrize("kind", [None, "", "app", "pipelines", 5])
@pytest.mark.parametrize("recovery", ["manual", "automatic"])
async def test_every_other_kind_is_treated_as_the_app(kind: object, recovery: str) -> None:
    """A stop is safe for each kind. The app's own recovery makes no difference, as before."""
    chain = Chain()
    run = chain.begin(opening(kind=kind, recovery=recovery))
    await chain.waits(run)
    await chain.approve()
    await chain.ends(run)
    assert chain.calls == ["breakwater", "stop", "approvals", "breakwater", "start", "steps"]


@pytest.mark.parametrize("state", ["half_open", "closed"])
@pytest.mark.parametrize("of", KEEP_APP_RUNNING)
async def test_circuit_that_admits_again_is_not_asked_for(of: dict[str, str], state: str) -> None:
    chain = Chain()
    chain.replies[path(of)] = lambda: json_answer({"state": state, "generation": 3})
    run = chain.begin(opening(**of, recovery="manual"))
    await chain.ends(run)
    assert (run.status, chain.calls) == (Status.CANCELLED, [path(of)])


@pytest.mark.parametrize("reply", [lambda: Answer(404, {}, None), no_answer])
@pytest.mark.parametrize("of", KEEP_APP_RUNNING)
async def test_approval_is_asked_for_again_until_somebody_decides(
    of: dict[str, str], reply: Reply
) -> None:
    """Neither a console that is away nor a lost callback ends the requests."""
    chain = Chain()
    chain.replies[path(of)] = chain.replies["approvals"] = reply
    run = chain.begin(opening(**of, recovery="manual"))
    await chain.clock.advance(2 * 3600)
    assert not run.status.is_final
    del chain.replies["approvals"]
    await chain.waits(run)
    before = chain.calls.count("approvals")
    await chain.clock.advance(3600 + 1)
    assert chain.calls.count("approvals") == before + 2
    await chain.approve()
    await chain.ends(run)
    assert run.status is Status.SUCCEEDED
    assert not {"stop", "start"} & set(chain.calls)


async def test_console_without_its_store_answers_503() -> None:
    """To the workflow a 503 is no answer, so that the workflow stops the app.

    The console has read the opening earlier, but must not answer from memory. A request for
    approval is refused until the console can read its store, and the workflow retries it.
    """
    store = UnreliableStore("breakwater")
    breaker = CircuitBreaker(store, BreakerSettings(store_grace_seconds=0))
    await breaker.refresh()
    store.away = True
    app = create_app(breaker, ConsoleSettings(token="t" * 16))
    headers = {"Authorization": "Bearer " + "t" * 16}
    body = {
        "circuit": "breakwater",
        "generation": 1,
        "openedAt": EVENT["time"],
        "callbackUrl": "http://localhost/",
    }
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        for request in (
            Request("GET", "https://console/api/circuits/breakwater", headers),
            Request("POST", "https://console/api/approvals", headers, body=body),
        ):
            answer = await HttpSender(client).send(request)
            assert answer.status == 503
            assert is_retried(answer.status)
            assert int(answer.headers["retry-after"]) > 0
    await breaker.aclose()


async def test_console_serves_each_address_that_the_workflow_calls() -> None:
    """A route of the console has the address's path and method."""
    chain = Chain()
    run = chain.begin()
    await chain.waits(run)
    await chain.approve()
    await chain.ends(run)
    breaker = CircuitBreaker(MemoryCircuitStore("breakwater"), BreakerSettings())
    app = create_app(breaker, ConsoleSettings(token="t" * 16))
    called = [each for each in chain.requests if each.uri.startswith("https://console/")]
    assert len(called) == 4
    for request in called:
        path = urlsplit(request.uri).path
        scope = {"type": "http", "method": request.method, "path": path, "headers": []}
        matches = [route.matches(scope)[0].name for route in app.router.routes]
        assert "FULL" in matches, scope


def all_actions(actions: dict[str, Any]) -> dict[str, Any]:
    found = dict(actions)
    for action in actions.values():
        found |= all_actions(action.get("actions", {}))
        found |= all_actions(action.get("else", {}).get("actions", {}))
    return found


@pytest.mark.parametrize("name", ["Stop_the_app", "Mail_the_operator", "Start_the_app"])
def test_azure_is_called_with_a_managed_identity(name: str) -> None:
    """The definition contains no key."""
    action = all_actions(DEFINITION["actions"])[name]
    assert action["inputs"]["authentication"]["type"] == "ManagedServiceIdentity"


def test_bicep_sets_every_parameter() -> None:
    """The definition has no other parameter."""
    text = (INFRA / "modules" / "workflow.bicep").read_text()
    block = text.partition("    parameters: {\n")[2].partition("\n    }\n")[0]
    given = re.findall(r"^      (\w+): \{$", block, re.MULTILINE)
    assert set(given) == set(DEFINITION["parameters"]) == set(PARAMETERS)


def test_subscription_names_the_trigger_and_the_event_type() -> None:
    """The trigger is the definition's, and the event type is the one that the breaker publishes."""
    text = (INFRA / "modules" / "topic-subscription.bicep").read_text()
    [trigger] = DEFINITION["triggers"]
    assert f"workflowName, '{trigger}')" in text
    assert re.findall(r"includedEventTypes: \[\s+'(.+)'\s+\]", text) == [OPENED]
