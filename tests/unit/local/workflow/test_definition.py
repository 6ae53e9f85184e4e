"""Definitions: loading, refusals by name, order, statuses and retry policies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local.workflow.definition import DefinitionError, load_definition
from local.workflow.definition.actions import Action, Http, HttpWebhook, Until
from local.workflow.definition.durations import seconds
from local.workflow.definition.graph import Turn, group_status, turn
from local.workflow.definition.retry import RetryPolicy, is_retried, load_policy
from local.workflow.definition.status import Status

DEPLOYED = Path(__file__).parents[4] / "infra" / "workflow.json"
TRIGGER = {"t": {"type": "Request", "kind": "Http", "inputs": {"schema": {}}}}


def document(**actions: Any) -> dict[str, Any]:
    return {"parameters": {"p": {"type": "String"}}, "triggers": TRIGGER, "actions": actions}


def compose(inputs: Any = 1, **after: list[str]) -> dict[str, Any]:
    return {"type": "Compose", "inputs": inputs, "runAfter": after}


def http(**more: Any) -> dict[str, Any]:
    return {"type": "Http", "inputs": {"method": "GET", "uri": "http://x"} | more}


def variable(**more: Any) -> dict[str, Any]:
    first = {"name": "x", "type": "Integer"} | more
    return {"type": "InitializeVariable", "inputs": {"variables": [first]}}


def assign(value: Any = 1) -> dict[str, Any]:
    return {"type": "SetVariable", "inputs": {"name": "x", "value": value}}


def test_the_deployed_definition_is_known() -> None:
    definition = load_definition(json.loads(DEPLOYED.read_text()))
    assert definition.trigger == "circuit_opened"
    asks = definition.actions["Ask_and_start"]
    assert isinstance(asks, Until)
    assert (asks.count, asks.timeout, asks.fails_at_limit) == (5000, 30 * 86400, True)
    waits = asks.actions["Wait_for_decision"]
    assert isinstance(waits, HttpWebhook)
    assert (waits.timeout, waits.unsubscribe) == (1800, None)
    assert waits.retry == RetryPolicy(2, 10, grows=False)
    assert definition.variable_types["refused_starts"] == "integer"
    mail = definition.actions["Send_mail"].children["Mail_the_operator"]
    assert isinstance(mail, Http)
    assert (mail.polls, mail.retry, mail.timeout) == (False, RetryPolicy(), None)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ({"A": {"type": "Foreach"}}, "A: the action type 'Foreach' is not one of Compose"),
        ({"A": compose("@item()")}, r"A: the function item\(\) is not supported"),
        ({"A": compose("@variables('x')")}, "A: the variable x is not initialized before"),
        ({"A": compose("@variables('x')"), "B": variable()}, "A: the variable x is not init"),
        ({"A": assign(), "B": variable()}, "A: the variable x is not initialized before"),
        ({"A": variable(), "B": variable()}, "the variable x is initialized twice"),
        ({"A": variable(type="Date")}, "A: a variable has a name and one of the types"),
        ({"A": variable(name="")}, "A: a variable has a name and one of the types"),
        ({"A": assign("@variables('x')")}, "A: a self reference is not supported"),
        (
            {"S": {"type": "Scope", "actions": {"A": variable()}}},
            "A: a variable can only be initialized outside of all groups",
        ),
        ({"A": compose("@f(")}, "A: "),
        ({"A": compose() | {"limit": {}}}, "A: limit is not supported"),
        ({"A": http(cookie="x")}, "A: cookie is not supported"),
        ({"A": http(authentication={"type": "Basic"})}, "A: the authentication Basic"),
        ({"A": http(method="HEAD")}, "A: the method HEAD"),
        ({"A": http(uri="")}, "A: uri is missing"),
        ({"A": http() | {"operationOptions": "Sequential"}}, "A: the operation option"),
        ({"A": http() | {"limit": {"timeout": "1h"}}}, "A: '1h' is not a duration"),
        ({"A": http(retryPolicy={"type": "linear"})}, "A: the retry policy 'linear'"),
        ({"A": compose(B=["Succeeded"])}, "A: runs after B, which is not in the same group"),
        ({"A": compose(B=["Done"]), "B": compose()}, "A: runAfter B has the statuses"),
        ({"A": compose(B=["Failed"]), "B": compose(A=["Failed"])}, "A: runs after itself"),
        (
            {"A": compose("@outputs('B')"), "B": compose()},
            r"A: outputs\('B'\) is not on the runAfter path",
        ),
        ({"A": compose("@outputs('A')")}, "A: outputs"),
        ({"A": compose("@parameters('q')")}, "A: the parameter q is not declared"),
        ({"A": compose("@iterationIndexes('L')")}, "A: L is not a loop"),
        (
            {"S": {"type": "Scope", "actions": {"A": compose()}}, "A": compose()},
            "A: two actions have this name",
        ),
        ({"I": {"type": "If", "expression": {"xor": []}}}, "I: the condition xor"),
        (
            {"S": {"type": "Scope", "actions": {"B": compose() | {"x": 1}}}},
            "^B: x is not supported",
        ),
    ],
)
def test_what_is_not_known_is_refused_by_name(actions: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        load_definition(document(**actions))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"triggers": {}}, "0 triggers"),
        ({"triggers": {"t": {"type": "Recurrence"}}}, "t: the trigger type 'Recurrence'"),
        (
            {"triggers": {"t": {"type": "Request", "inputs": {"schema": {"type": "object"}}}}},
            "t: a schema",
        ),
        (
            {"triggers": {"t": {"type": "Request", "inputs": {"method": "GET"}}}},
            "t: the trigger's method",
        ),
        ({"outputs": {"o": {}}}, "outputs"),
        ({"staticResults": {}}, "unknown part: staticResults"),
    ],
)
def test_an_unknown_part_or_trigger_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        load_definition(document(A=compose()) | change)


def test_terminate_is_refused_inside_a_loop() -> None:
    """The service refuses Terminate anywhere inside Until, also inside If."""
    ends = {"type": "Terminate", "inputs": {"runStatus": "Cancelled"}}
    branch = {"type": "If", "expression": "@true", "actions": {"E": ends}}
    load_definition(document(I=branch))
    loop = {"type": "Until", "expression": "@true", "actions": {"I": branch}}
    with pytest.raises(DefinitionError, match=r"^E: .*Terminate cannot be nested under a loop"):
        load_definition(document(L=loop))


def test_actions_of_earlier_groups_can_be_read() -> None:
    """Readable: the path before, groups on the path, and in a loop's condition the loop."""
    loop = {
        "type": "Until",
        "expression": "@equals(outputs('B'), outputs('A'))",
        "actions": {"B": compose("@concat(string(iterationIndexes('L')), outputs('A'))")},
        "runAfter": {"A": ["Succeeded"]},
    }
    later = compose("@outputs('B')", L=["Succeeded", "Failed"])
    load_definition(document(A=compose(), L=loop, C=later))


def test_limits_of_a_loop_have_the_documented_defaults() -> None:
    loop: dict[str, Any] = {"type": "Until", "expression": "@true", "actions": {"A": compose()}}
    found = load_definition(document(L=loop)).actions["L"]
    assert isinstance(found, Until)
    assert (found.count, found.timeout, found.fails_at_limit) == (60, 3600, False)
    loop |= {"limit": {"count": 5, "timeout": "P1D"}, "operationOptions": "FailWhenLimitsReached"}
    found = load_definition(document(L=loop)).actions["L"]
    assert isinstance(found, Until)
    assert (found.count, found.timeout, found.fails_at_limit) == (5, 86400, True)
    with pytest.raises(DefinitionError, match="L: count of the limit is 5001"):
        load_definition(document(L=loop | {"limit": {"count": 5001}}))


def action(name: str, **after: list[Status]) -> Action:
    return Action(name=name, run_after={key: frozenset(value) for key, value in after.items()})


GOOD, BAD, SKIPPED, LATE = Status.SUCCEEDED, Status.FAILED, Status.SKIPPED, Status.TIMED_OUT


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ({}, Turn.WAIT),
        ({"A": GOOD}, Turn.WAIT),
        ({"A": GOOD, "B": Status.RUNNING}, Turn.WAIT),
        ({"A": GOOD, "B": BAD}, Turn.RUN),
        ({"A": GOOD, "B": LATE}, Turn.RUN),
        ({"A": GOOD, "B": GOOD}, Turn.SKIP),
        ({"A": SKIPPED, "B": BAD}, Turn.SKIP),
        ({"A": BAD, "B": Status.RUNNING}, Turn.WAIT),
    ],
)
def test_an_action_runs_after_all_accepted_statuses(
    statuses: dict[str, Status], expected: Turn
) -> None:
    assert turn(action("C", A=[GOOD], B=[BAD, LATE]), statuses) is expected


def test_skipped_is_a_status_that_runafter_may_accept() -> None:
    assert turn(action("B", A=[SKIPPED]), {"A": SKIPPED}) is Turn.RUN
    assert turn(action("B"), {}) is Turn.RUN


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((GOOD, GOOD, GOOD), GOOD),
        ((BAD, GOOD, GOOD), GOOD),
        ((GOOD, BAD, GOOD), BAD),
        ((GOOD, GOOD, LATE), BAD),
        ((GOOD, SKIPPED, GOOD), GOOD),
        ((BAD, SKIPPED, GOOD), BAD),
        ((SKIPPED, SKIPPED, GOOD), GOOD),
    ],
)
def test_the_last_actions_decide_the_status(
    statuses: tuple[Status, Status, Status], expected: Status
) -> None:
    """A last action that was skipped has the status of the action before it."""
    actions = {"A": action("A"), "B": action("B", A=[GOOD]), "C": action("C")}
    assert group_status(actions, dict(zip("ABC", statuses, strict=True))) is expected


def test_waits_are_picked_from_the_documented_ranges() -> None:
    """Retry n waits between 2^(n-2) and 2^(n-1) intervals, within the bounds."""
    ranges: list[tuple[float, float]] = []

    def pick(low: float, high: float) -> float:
        ranges.append((low, high))
        return high

    waits = [RetryPolicy().wait_after(attempts, pick) for attempts in range(1, 6)]
    assert waits == [7.5, 15, 30, 45, None]
    assert ranges == [(5, 7.5), (7.5, 15), (15, 30), (30, 45)]
    fixed = load_policy({"type": "fixed", "count": 1, "interval": "PT30S"})
    assert [fixed.wait_after(attempts, pick) for attempts in (1, 2)] == [30, None]
    assert load_policy({"type": "none"}).wait_after(1, pick) is None
    steep = RetryPolicy(90, 7, 5, 300)
    assert steep.wait_after(80, pick) == 300
    assert ranges[-1] == (300, 300)


def test_bounds_of_an_exponential_policy_have_the_documented_defaults() -> None:
    policy = load_policy({"type": "exponential", "count": 2, "interval": "PT10S"})
    assert policy == RetryPolicy(2, 10, 5, 86400)
    assert load_policy(None) == load_policy({"type": "default"}) == RetryPolicy(4, 7.5, 5, 45)


@pytest.mark.parametrize(
    "given",
    [
        {"type": "none", "count": 1},
        {"type": "fixed", "count": 91, "interval": "PT10S"},
        {"type": "fixed", "count": 1, "interval": "PT4S"},
        {"type": "fixed", "count": 1},
        {"type": "fixed", "count": 1, "interval": "PT5S", "maximumInterval": "PT5S"},
        {"type": "exponential", "count": 1, "interval": "P2D"},
    ],
)
def test_a_policy_outside_of_the_limits_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        load_policy(given)


@pytest.mark.parametrize(
    ("status", "retried"),
    [
        (status, status in {408, 429, 500, 501, 503})
        for status in (200, 302, 400, 401, 404, 408, 409, 410, 429, 500, 501, 503)
    ],
)
def test_only_temporary_errors_are_retried(status: int, retried: bool) -> None:
    assert is_retried(status) is retried


def test_durations_are_iso_8601() -> None:
    assert [seconds(each) for each in ("PT7S", "P30D", "PT1H30M")] == [7, 30 * 86400, 5400]
    for wrong in ("7", "", "P1M", "-PT5S", None, 7):
        with pytest.raises(DefinitionError):
            seconds(wrong)
