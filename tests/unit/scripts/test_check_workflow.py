"""The check of workflow.json finds what Logic Apps refuses in loops and with variables."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.check_infra.workflow import workflow_problems

type Actions = dict[str, dict[str, Any]]

AGAIN: dict[str, Any] = {
    "type": "Until",
    "expression": "@equals(variables('end'), 'yes')",
    "limit": {"count": 10, "timeout": "PT1H"},
    "operationOptions": "FailWhenLimitsReached",
    "actions": {
        "Ask": {
            "type": "HttpWebhook",
            "inputs": {
                "subscribe": {
                    "method": "POST",
                    "uri": "https://example.org",
                    "authentication": {"type": "ManagedServiceIdentity"},
                },
                "unsubscribe": {},
            },
            "limit": {"timeout": "PT30M"},
            "runAfter": {},
        },
        "Asked": {
            "type": "If",
            "expression": {"equals": ["@actions('Ask')?['status']", "Succeeded"]},
            "actions": {
                "End": {
                    "type": "SetVariable",
                    "inputs": {"name": "end", "value": "yes"},
                    "runAfter": {},
                }
            },
            "else": {
                "actions": {
                    "Pause": {
                        "type": "Wait",
                        "inputs": {"interval": {"count": 1, "unit": "Minute"}},
                        "runAfter": {},
                    }
                }
            },
            "runAfter": {"Ask": ["Succeeded", "Failed", "TimedOut"]},
        },
    },
    "runAfter": {"Variable_end": ["Succeeded"]},
}
DEFINITION: dict[str, Any] = {
    "$schema": "x",
    "contentVersion": "1.0.0.0",
    "parameters": {},
    "triggers": {"opened": {"type": "Request"}},
    "actions": {
        "Variable_end": {
            "type": "InitializeVariable",
            "inputs": {"variables": [{"name": "end", "type": "String", "value": ""}]},
            "runAfter": {},
        },
        "Again": AGAIN,
        "Rest": {
            "type": "Scope",
            "actions": {
                "Stop": {"type": "Terminate", "inputs": {"runStatus": "Failed"}, "runAfter": {}}
            },
            "runAfter": {"Again": ["Failed"]},
        },
    },
    "outputs": {},
}


def problems(folder: Path, change: Callable[[Actions], object]) -> list[str]:
    """Return the problems of the definition after a change of its actions."""
    definition = copy.deepcopy(DEFINITION)
    change(definition["actions"])
    file = folder / "workflow.json"
    file.write_text(json.dumps(definition))
    return list(workflow_problems(file))


def test_loop_with_limits_is_accepted(tmp_path: Path) -> None:
    assert problems(tmp_path, lambda _: None) == []


def nested(action: dict[str, Any], depth: int) -> dict[str, Any]:
    """Return an action inside as many scopes as needed for a depth."""
    for number in range(depth - 1):
        action = {"type": "Scope", "actions": {f"Inner_{number}": action}, "runAfter": {}}
    return action


@pytest.mark.parametrize(("depth", "refused"), [(8, False), (9, True)])
def test_actions_nest_at_most_eight_deep(tmp_path: Path, depth: int, refused: bool) -> None:
    compose = {"type": "Compose", "inputs": 1, "runAfter": {}}
    outer = nested(compose, depth) | {"runAfter": {"Rest": ["Skipped"]}}
    found = problems(tmp_path, lambda it: it.update(Outer=outer))
    assert [line for line in found if "nested" in line] == (
        ["workflow.json: actions are nested 9 deep; Logic Apps takes at most 8"] if refused else []
    )


def ask(actions: Actions) -> dict[str, Any]:
    found: dict[str, Any] = actions["Again"]["actions"]["Ask"]
    return found


def pause(actions: Actions) -> dict[str, Any]:
    found: dict[str, Any] = actions["Again"]["actions"]["Asked"]["else"]["actions"]["Pause"]
    return found


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda it: it["Again"]["limit"].pop("count"), "Again (Until) takes a limit.count"),
        (lambda it: it["Again"]["limit"].update(count=5001), "Again (Until) takes a limit.count"),
        (lambda it: it["Again"]["limit"].pop("timeout"), "Again (Until) takes a limit.timeout"),
        (lambda it: it["Again"]["limit"].update(timeout="1h"), "Again (Until) takes a limit.time"),
        (lambda it: it["Again"].pop("operationOptions"), "Again (Until) must fail at its limits"),
        (
            lambda it: pause(it).update(type="Terminate", inputs={"runStatus": "Failed"}),
            "Pause (Terminate) is inside the loop Again",
        ),
        (
            lambda it: ask(it)["limit"].update(timeout="PT1H"),
            "Ask (HttpWebhook) takes a limit.timeout below that of the loop Again",
        ),
        (lambda it: ask(it).pop("limit"), "Ask (HttpWebhook) takes a limit.timeout such as"),
        (
            lambda it: pause(it)["inputs"]["interval"].update(unit="Minutes"),
            "Pause (Wait) takes an interval",
        ),
        (
            lambda it: pause(it).update(runAfter={"Ask": ["Succeeded"]}),
            "Pause runs after Ask, which is not in the same scope",
        ),
        (
            lambda it: it["Again"]["actions"].update(Later=it.pop("Variable_end")),
            "Later must be outside of loops",
        ),
        (
            lambda it: it["Variable_end"]["inputs"]["variables"][0].update(name="over"),
            "End changes the variable end, which is not initialized",
        ),
        (
            lambda it: it["Variable_end"]["inputs"]["variables"][0].update(name="over"),
            "variable over is never read",
        ),
        (
            lambda it: it["Again"].update(expression="@equals(variables('fin'), 'yes')"),
            "variable fin is not initialized",
        ),
        (
            lambda it: it["Again"]["actions"]["Asked"]["actions"]["End"]["inputs"].update(
                value="@concat(variables('end'), 'x')"
            ),
            "End computes the variable end from itself",
        ),
    ],
)
def test_problem_is_found(
    tmp_path: Path, change: Callable[[Actions], object], problem: str
) -> None:
    found = problems(tmp_path, change)
    assert any(problem in line for line in found), found
