"""Calls of the Logic App's definition, compared with those of the tested local workflow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from breaker.alerts.base import Alert
from breaker.alerts.event_grid import cloud_event
from console.app import create_app
from console.settings import ConsoleSettings
from local.workflow import Workflow
from local.workflow.actions import ActionError, Actions
from local.workflow.routes import OPENED, parse_openings
from local.workflow.run import Opening, RunState
from local.workflow.store import RunStore
from tests.support.breaker.unreliable_store import UnreliableStore
from tests.support.local.fakes import FakeTime, Receiver, until

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
CALLBACK = "https://callback"
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

type Call = tuple[str, str, dict[str, Any] | None, str]


def evaluate(expression: str) -> Any:
    """Return the value of one of the few expressions that the calls use."""
    if match := re.fullmatch(r"parameters\('(\w+)'\)", expression):
        return PARAMETERS[match[1]]
    if match := re.fullmatch(r"encodeUriComponent\((.+)\)", expression):
        return quote(str(evaluate(match[1])), safe="")
    if match := re.fullmatch(r"outputs\('Opening'\)\??((?:\['\w+'\])+)", expression):
        value: Any = EVENT
        for name in re.findall(r"'(\w+)'", match[1]):
            value = value[name]
        return value
    assert expression == "listCallbackUrl()", expression
    return CALLBACK


def rendered(value: Any) -> Any:
    """Return a value of the definition with its expressions evaluated, as Logic Apps does."""
    if isinstance(value, dict):
        return {name: rendered(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rendered(each) for each in value]
    if not isinstance(value, str):
        return value
    if value.startswith("@") and not value.startswith("@{"):
        return evaluate(value[1:])
    return re.sub(r"@\{([^{}]+)\}", lambda match: str(evaluate(match[1])), value)


def in_order(actions: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each action after those that it runs after; of branches, the first in the file."""
    done: set[str] = set()
    while len(done) < len(actions):
        name = next(n for n, a in actions.items() if n not in done and a["runAfter"].keys() <= done)
        done.add(name)
        yield name, actions[name]


def calls(method: str) -> list[Call]:
    """Return the definition's HTTP calls in order: method, URL, body, Authorization."""
    found = []
    for _, action in in_order(DEFINITION["actions"]):
        if action["type"] not in {"Http", "HttpWebhook"}:
            continue
        inputs = action["inputs"].get("subscribe", action["inputs"])
        if inputs["method"] == method:
            query = "&".join(f"{name}={value}" for name, value in inputs.get("queries", {}).items())
            url = rendered(inputs["uri"]) + (f"?{query}" if query else "")
            shown = rendered(inputs.get("headers", {})).get("Authorization", "")
            found.append((method, url, rendered(inputs.get("body")), shown))
    return found


async def local_calls() -> list[Call]:
    """Return the calls of the local workflow for the same event, which is approved."""

    def answer(_request: Request, _body: bytes) -> Response:
        return JSONResponse({"status": "waiting"}, status_code=202)

    receiver, time = Receiver(answer), FakeTime()
    actions = Actions(
        receiver.client(),
        PARAMETERS["functionAppUrl"],
        PARAMETERS["consoleUrl"],
        PARAMETERS["consoleToken"],
    )
    workflow = Workflow(actions, RunStore(), "http://base", now=time.now, sleep=time.sleep)
    [opening] = parse_openings(json.dumps(EVENT).encode())
    run = workflow.trigger(opening)
    assert run is not None
    await until(lambda: len(receiver.requests) == 2)
    workflow.callback(run.id, run.sig, "alice")
    await until(lambda: run.state is RunState.SUCCEEDED)
    await workflow.aclose()
    found: list[Call] = []
    for method, url, headers, body in receiver.requests:
        document = json.loads(body) if body else None
        if document is not None:
            document["callbackUrl"] = CALLBACK
        found.append((method, url, document, headers.get("authorization", "")))
    return found


async def test_both_workflows_make_the_same_calls() -> None:
    """The order, methods, addresses, bodies and Authorization headers are equal."""
    clouds, locals_ = calls("POST"), await local_calls()
    times = [
        datetime.fromisoformat(body.pop("openedAt"))
        for _, _, body, _ in clouds + locals_
        if body is not None
    ]
    assert clouds == locals_
    assert times == [datetime.fromtimestamp(ALERT.at, UTC)] * 2


def test_logic_app_asks_the_console_before_stop_and_start() -> None:
    """A Logic App has no memory of earlier runs, unlike the local workflow."""
    asked = [(url, shown) for _, url, _, shown in calls("GET")]
    assert asked == [("https://console/api/circuits/breakwater", "Bearer token")] * 2
    actions = DEFINITION["actions"]
    assert actions["Stop_the_app"]["runAfter"].keys() == {"Check_generation"}
    assert actions["Start_the_app"]["runAfter"].keys() == {"Check_generation_again"}


def operand(text: str, circuit: dict[str, Any]) -> Any:
    """Return the value of one side of a comparison, for this answer of the console."""
    if match := re.fullmatch(r"int\((.+)\)", text):
        return int(operand(match[1], circuit))
    if match := re.fullmatch(r"coalesce\((.+?), (.+)\)", text):
        first = operand(match[1], circuit)
        return operand(match[2], circuit) if first is None else first
    if match := re.fullmatch(r"outputs\('Circuit_now'\)\?\['(\w+)'\]", text):
        return circuit.get(match[1])
    if match := re.fullmatch(r"'(\w+)'", text):
        return match[1]
    return evaluate(text)


def holds(condition: dict[str, Any], circuit: dict[str, Any]) -> bool:
    [(name, parts)] = condition.items()
    if name == "not":
        return not holds(parts, circuit)
    if name == "or":
        return any(holds(part, circuit) for part in parts)
    assert name == "equals", name
    one, other = (operand(part[1:], circuit) if part.startswith("@") else part for part in parts)
    return bool(one == other)


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
async def test_both_workflows_agree_which_opening_has_passed(
    circuit: dict[str, Any], passed: bool
) -> None:
    """A lower generation means that the store was emptied after the opening.

    An empty answer decides nothing, so that both workflows act.
    """

    def answer(_request: Request, _body: bytes) -> Response:
        return JSONResponse(circuit)

    check = DEFINITION["actions"]["Check_generation"]
    assert holds(check["expression"], circuit) is passed
    assert check["actions"].keys() == {"Opening_has_passed"}
    actions = Actions(Receiver(answer).client(), "https://arm", "https://console", "token")
    try:
        assert await actions.has_passed("breakwater", 3) is passed
    except ActionError:
        assert not circuit


async def test_console_without_its_store_answers_503() -> None:
    """To both workflows a 503 is no answer, so that they stop the app.

    The console has read the opening earlier, but must not answer from memory. A request for
    approval is refused until the console can read its store, and both workflows retry it.
    """
    store = UnreliableStore("breakwater")
    breaker = CircuitBreaker(store, BreakerSettings(store_grace_seconds=0))
    await breaker.refresh()
    store.away = True
    app = create_app(breaker, ConsoleSettings(token="t" * 16))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        actions = Actions(client, "https://arm", "https://console", "t" * 16)
        opening = Opening("breakwater", 1, ALERT.at)
        for asking in (
            actions.has_passed("breakwater", 1),
            actions.request_approval(opening, "http://localhost/"),
        ):
            with pytest.raises(ActionError, match="HTTP 503") as raised:
                await asking
            assert raised.value.retried
        answer = await client.get(
            "https://console/api/circuits/breakwater",
            headers={"Authorization": "Bearer " + "t" * 16},
        )
    assert int(answer.headers["retry-after"]) > 0
    await breaker.aclose()


def test_console_serves_each_address_that_the_workflow_calls() -> None:
    """A route of the console has the address's path and method."""
    breaker = CircuitBreaker(MemoryCircuitStore("breakwater"), BreakerSettings())
    app = create_app(breaker, ConsoleSettings(token="t" * 16))
    scopes = [
        {"type": "http", "method": method, "path": urlsplit(url).path, "headers": []}
        for method, url, _, _ in calls("GET") + calls("POST")
        if url.startswith("https://console/")
    ]
    assert len(scopes) == 3
    for scope in scopes:
        matches = [route.matches(scope)[0].name for route in app.router.routes]
        assert "FULL" in matches, scope


@pytest.mark.parametrize("name", ["Stop_the_app", "Mail_the_operator", "Start_the_app"])
def test_azure_is_called_with_a_managed_identity(name: str) -> None:
    """The definition contains no key."""
    mail = DEFINITION["actions"]["Send_mail"]["actions"]
    action = (DEFINITION["actions"] | mail)[name]
    assert action["inputs"]["authentication"]["type"] == "ManagedServiceIdentity"


def test_approval_is_requested_although_the_stop_failed() -> None:
    """The circuit holds every event by itself, as with the local workflow."""
    actions = DEFINITION["actions"]
    assert set(actions["Wait_for_approval"]["runAfter"]["Stop_the_app"]) >= {"Failed", "TimedOut"}


@pytest.mark.parametrize(
    ("after", "before"),
    [
        ("Circuit_now", "Look_up_the_circuit"),
        ("Stop_the_app", "Check_generation"),
        ("Circuit_now_again", "Look_up_the_circuit_again"),
        ("Start_the_app", "Check_generation_again"),
    ],
)
def test_app_is_stopped_and_started_although_the_console_failed(after: str, before: str) -> None:
    """The app is started after the approval alone."""
    assert {"Succeeded", "Failed"} <= set(DEFINITION["actions"][after]["runAfter"][before])


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
