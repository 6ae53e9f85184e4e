"""The check of workflow.json for missing references and unused declarations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_KEYS = {
    "Compose": {"inputs"},
    "Http": {"inputs", "runtimeConfiguration", "limit", "operationOptions"},
    "HttpWebhook": {"inputs", "runtimeConfiguration", "limit"},
    "If": {"expression", "actions", "else"},
    "Terminate": {"inputs"},
}
_COMMON = {"type", "runAfter", "description"}
_ENDS = {"Succeeded", "Failed", "Skipped", "TimedOut"}
_REFERENCE = re.compile(r"\b(outputs|body|actions)\('([^']+)'\)")
_SELECTED_BODY = re.compile(r"\bbody\('([^']+)'\)\??\[")
_PARAMETER = re.compile(r"\bparameters\('([^']+)'\)")


def workflow_problems(file: Path) -> Iterator[str]:
    """Yield one line per problem of the definition."""
    definition = json.loads(file.read_text())
    name = file.name
    for part in ("$schema", "contentVersion", "parameters", "triggers", "actions", "outputs"):
        if part not in definition:
            yield f"{name}: {part} is missing"
    if len(definition["triggers"]) != 1:
        yield f"{name}: the definition takes exactly one trigger"
    text = json.dumps(definition["actions"])
    actions = dict(_all_actions(definition["actions"]))
    for kind, target in _REFERENCE.findall(text):
        if target not in actions:
            yield f"{name}: {kind}('{target}') refers to an action that does not exist"
    for target in _SELECTED_BODY.findall(text):
        yield f"{name}: body('{target}')[…] fails if the body is text, as in a proxy's errors"
    used, declared = set(_PARAMETER.findall(text)), set(definition["parameters"])
    for missing in sorted(used - declared):
        yield f"{name}: parameter {missing} is not declared"
    for unused in sorted(declared - used):
        yield f"{name}: parameter {unused} is never used"
    yield from _scope(definition["actions"], name)
    for label, action in actions.items():
        yield from _action(label, action, name)


def _all_actions(actions: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for label, action in actions.items():
        yield label, action
        yield from _all_actions(action.get("actions", {}))
        yield from _all_actions(action.get("else", {}).get("actions", {}))


def _scope(actions: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield one line per problem with the order of actions in a scope."""
    if sum(not action.get("runAfter") for action in actions.values()) != 1:
        yield f"{name}: exactly one action of {sorted(actions)} must run first"
    for label, action in actions.items():
        for before, ends in action.get("runAfter", {}).items():
            if before not in actions or before == label:
                yield f"{name}: {label} runs after {before}, which is not in the same scope"
            if not ends or not set(ends) <= _ENDS:
                yield f"{name}: {label} runs after {before} {ends}; runAfter takes {sorted(_ENDS)}"
        if inner := action.get("actions"):
            yield from _scope(inner, name)


def _action(label: str, action: Mapping[str, Any], name: str) -> Iterator[str]:
    kind = action.get("type")
    if kind not in _KEYS:
        yield f"{name}: {label} has the type {kind!r}; known types are {', '.join(_KEYS)}"
        return
    for key in sorted(action.keys() - _KEYS[kind] - _COMMON):
        yield f"{name}: {label} ({kind}) has no option {key}"
    if kind in {"Http", "HttpWebhook"}:
        inputs = action["inputs"].get("subscribe", action["inputs"])
        shown = "consoleToken" in json.dumps(inputs)
        hidden = action.get("runtimeConfiguration", {}).get("secureData", {}).get("properties", [])
        if shown and "inputs" not in hidden:
            yield f"{name}: {label} exposes the console's token in the run history"
        if not shown and inputs.get("authentication", {}).get("type") != "ManagedServiceIdentity":
            yield f"{name}: {label} must authenticate with its managed identity"
