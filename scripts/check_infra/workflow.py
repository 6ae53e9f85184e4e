"""The check of workflow.json: references, declarations, and the limits that Logic Apps has."""

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
    "IncrementVariable": {"inputs"},
    "InitializeVariable": {"inputs"},
    "Scope": {"actions"},
    "SetVariable": {"inputs"},
    "Terminate": {"inputs"},
    "Until": {"expression", "actions", "limit", "operationOptions"},
    "Wait": {"inputs"},
}
_COMMON = {"type", "runAfter", "description"}
_ENDS = {"Succeeded", "Failed", "Skipped", "TimedOut"}
_REFERENCE = re.compile(r"\b(outputs|body|actions)\('([^']+)'\)")
_SELECTED_BODY = re.compile(r"\bbody\('([^']+)'\)\??\[")
_VARIABLE = re.compile(r"\bvariables\('([^']+)'\)")
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_UNITS = {"Second", "Minute", "Hour", "Day", "Week", "Month"}
_MOST_REPEATS = 5000
"""The most iterations of an Until in Logic Apps."""
_MOST_NESTED = 8
"""The greatest nesting depth of actions in Logic Apps."""
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
    if (depth := _depth(definition["actions"])) > _MOST_NESTED:
        yield f"{name}: actions are nested {depth} deep; Logic Apps takes at most {_MOST_NESTED}"
    yield from _scope(definition["actions"], name)
    yield from _variables(definition["actions"], actions, name)
    for label, action in actions.items():
        yield from _action(label, action, name)
        if action.get("type") == "Until":
            yield from _loop(label, action, name)


def _all_actions(actions: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for label, action in actions.items():
        yield label, action
        for group in _groups(action):
            yield from _all_actions(group)


def _groups(action: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield each non-empty group of actions inside an action."""
    for group in (action.get("actions"), action.get("else", {}).get("actions")):
        if group:
            yield group


def _depth(actions: Mapping[str, Any]) -> int:
    """Return the nesting depth; actions without inner actions have the depth 1."""
    inner = [_depth(group) for action in actions.values() for group in _groups(action)]
    return 1 + max(inner, default=0)


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
        for group in _groups(action):
            yield from _scope(group, name)


def _variables(
    top: Mapping[str, Any], actions: Mapping[str, dict[str, Any]], name: str
) -> Iterator[str]:
    """Yield one line per problem with variables."""
    declared = {
        variable["name"]
        for action in actions.values()
        if action.get("type") == "InitializeVariable"
        for variable in action["inputs"]["variables"]
    }
    used = set(_VARIABLE.findall(json.dumps(list(actions.values()))))
    for label, action in actions.items():
        if action.get("type") == "InitializeVariable" and label not in top:
            yield f"{name}: {label} must be outside of loops and conditions"
        if action.get("type") in {"SetVariable", "IncrementVariable"}:
            target = action["inputs"]["name"]
            if target not in declared:
                yield f"{name}: {label} changes the variable {target}, which is not initialized"
            if target in _VARIABLE.findall(json.dumps(action["inputs"])):
                yield f"{name}: {label} computes the variable {target} from itself"
    for missing in sorted(used - declared):
        yield f"{name}: variable {missing} is not initialized"
    for unused in sorted(declared - used):
        yield f"{name}: variable {unused} is never read"


def _loop(label: str, loop: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield one line per problem with an Until and the actions inside."""
    limit = loop.get("limit", {})
    count, timeout = limit.get("count"), _seconds(limit.get("timeout"))
    if not isinstance(count, int) or not 1 <= count <= _MOST_REPEATS:
        yield f"{name}: {label} (Until) takes a limit.count from 1 to {_MOST_REPEATS}"
    if not timeout:
        yield f"{name}: {label} (Until) takes a limit.timeout such as PT15M"
    if loop.get("operationOptions") != "FailWhenLimitsReached":
        yield f"{name}: {label} (Until) must fail at its limits: FailWhenLimitsReached"
    for inner, action in _all_actions(loop["actions"]):
        if action.get("type") == "Terminate":
            yield f"{name}: {inner} (Terminate) is inside the loop {label}, which Azure refuses"
        if action.get("type") == "HttpWebhook":
            wait = _seconds(action.get("limit", {}).get("timeout"))
            if not wait or not timeout or wait >= timeout:
                yield (
                    f"{name}: {inner} (HttpWebhook) takes a limit.timeout below that of the loop "
                    f"{label}, or a lost callback is not asked for again"
                )


def _seconds(duration: object) -> int:
    """Return the seconds of a duration such as PT15M or P30D; 0 for anything else."""
    found = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    days, hours, minutes, seconds = (
        (int(each or 0) for each in found.groups()) if found else (0,) * 4
    )
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _action(label: str, action: Mapping[str, Any], name: str) -> Iterator[str]:
    kind = action.get("type")
    if kind not in _KEYS:
        yield f"{name}: {label} has the type {kind!r}; known types are {', '.join(_KEYS)}"
        return
    for key in sorted(action.keys() - _KEYS[kind] - _COMMON):
        yield f"{name}: {label} ({kind}) has no option {key}"
    if kind == "HttpWebhook" and not _seconds(action.get("limit", {}).get("timeout")):
        yield f"{name}: {label} (HttpWebhook) takes a limit.timeout such as PT30M"
    if kind == "Wait":
        interval = action["inputs"].get("interval", {})
        if interval.get("unit") not in _UNITS or not interval.get("count"):
            yield f"{name}: {label} (Wait) takes an interval of a count and one of {sorted(_UNITS)}"
    if kind in {"Http", "HttpWebhook"}:
        inputs = action["inputs"].get("subscribe", action["inputs"])
        shown = "consoleToken" in json.dumps(inputs)
        hidden = action.get("runtimeConfiguration", {}).get("secureData", {}).get("properties", [])
        if shown and "inputs" not in hidden:
            yield f"{name}: {label} exposes the console's token in the run history"
        if not shown and inputs.get("authentication", {}).get("type") != "ManagedServiceIdentity":
            yield f"{name}: {label} must authenticate with its managed identity"
