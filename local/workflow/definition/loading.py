"""The compilation of a definition, which refuses by name what the interpreter does not know.

The types, options and defaults are from "Schema reference guide to trigger and action types in
Azure Logic Apps", learn.microsoft.com/azure/logic-apps/logic-apps-workflow-actions-triggers. The
limits are from "Limits and configuration reference for Azure Logic Apps",
learn.microsoft.com/azure/logic-apps/logic-apps-limits-and-config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local.workflow.definition.actions import (
    Action,
    Actions,
    Compose,
    Http,
    HttpWebhook,
    If,
    IncrementVariable,
    InitializeVariable,
    Scope,
    SetVariable,
    Terminate,
    Until,
    Wait,
)
from local.workflow.definition.durations import seconds
from local.workflow.definition.problems import DefinitionError
from local.workflow.definition.references import check_order, check_references
from local.workflow.definition.retry import load_policy
from local.workflow.definition.status import RUN_AFTER, Status
from local.workflow.expressions import (
    ExpressionSyntaxError,
    Template,
    compile_condition,
    compile_value,
)

_PARTS = {"$schema", "contentVersion", "parameters", "triggers", "actions", "outputs"}
_COMMON = {"type", "runAfter", "description", "runtimeConfiguration"}
_REQUEST = {"method", "uri", "headers", "queries", "body", "authentication"}
_FIRST_VALUES: Mapping[str, Any] = {
    "array": [],
    "boolean": False,
    "float": 0.0,
    "integer": 0,
    "object": {},
    "string": "",
}
_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
_DEFAULT_COUNT, _MOST_COUNT = 60, 5000
_DEFAULT_TIMEOUT = "PT1H"
_DEEPEST = 8


@dataclass(frozen=True)
class Definition:
    """A compiled definition.

    Attributes:
        trigger: name of the trigger.
        actions: the actions outside of all groups.
        parameters: the default of each parameter that has one.
        declared: the names of all parameters.
    """

    trigger: str
    actions: Actions
    parameters: Mapping[str, Any]
    declared: frozenset[str]

    @property
    def variable_types(self) -> Mapping[str, str]:
        """The type of each variable, in lower case."""
        return {
            action.variable: action.kind
            for action in self.actions.values()
            if isinstance(action, InitializeVariable)
        }

    def __post_init__(self) -> None:
        check_order(self.actions)
        check_references(self.actions, self.declared)


def load_definition(document: Mapping[str, Any]) -> Definition:
    """Compile a definition.

    Raises:
        DefinitionError: the service would refuse the definition, or the interpreter does not know
            a part of the definition; the message names the part.
    """
    if unknown := document.keys() - _PARTS:
        raise DefinitionError(f"the definition has an unknown part: {', '.join(sorted(unknown))}")
    if document.get("outputs"):
        raise DefinitionError("outputs of the definition are not supported")
    parameters = document.get("parameters", {})
    return Definition(
        trigger=_trigger(document.get("triggers", {})),
        actions=_group(document.get("actions", {}), depth=0, in_loop=False),
        parameters={
            name: each["defaultValue"]
            for name, each in parameters.items()
            if "defaultValue" in each
        },
        declared=frozenset(parameters),
    )


def _trigger(triggers: Mapping[str, Any]) -> str:
    if len(triggers) != 1:
        raise DefinitionError(f"the definition has {len(triggers)} triggers; it takes one")
    [(name, trigger)] = triggers.items()
    if trigger.get("type") != "Request" or trigger.get("kind", "Http") != "Http":
        raise DefinitionError(f"the trigger type {trigger.get('type')!r} is not supported", name)
    _only(name, trigger, {"type", "kind", "inputs", "description"})
    inputs = trigger.get("inputs", {})
    _only(name, inputs, {"method", "schema"})
    if inputs.get("method", "POST") != "POST":
        raise DefinitionError("the trigger's method must be POST", name)
    if inputs.get("schema"):
        raise DefinitionError("a schema of the trigger is not supported", name)
    return name


def _group(actions: Mapping[str, Any], *, depth: int, in_loop: bool) -> Actions:
    if depth > _DEEPEST:
        raise DefinitionError(f"nested deeper than {_DEEPEST} levels", next(iter(actions), ""))
    return {name: _action(name, given, depth, in_loop) for name, given in actions.items()}


def _action(name: str, given: Mapping[str, Any], depth: int, in_loop: bool) -> Action:
    kind = given.get("type")
    load = _KINDS.get(str(kind))
    if load is None:
        raise DefinitionError(
            f"the action type {kind!r} is not one of {', '.join(sorted(_KINDS))}", name
        )
    try:
        return load(_Given(name, given, depth, in_loop))
    except ExpressionSyntaxError as error:
        raise DefinitionError(str(error), name) from None
    except DefinitionError as error:
        if error.action:
            raise
        raise DefinitionError(str(error), name) from None


@dataclass(frozen=True)
class _Given:
    """An action of the document."""

    name: str
    value: Mapping[str, Any]
    depth: int
    in_loop: bool

    @property
    def common(self) -> dict[str, Any]:
        return {"name": self.name, "run_after": _run_after(self.name, self.value)}

    def only(self, *keys: str) -> None:
        _only(self.name, self.value, _COMMON | set(keys))

    def inputs(self) -> Mapping[str, Any]:
        inputs = self.value.get("inputs")
        if not isinstance(inputs, dict):
            raise DefinitionError("inputs is missing", self.name)
        return inputs

    def group(self, value: Mapping[str, Any], *, loop: bool = False) -> Actions:
        actions = value.get("actions", {})
        return _group(actions, depth=self.depth + 1, in_loop=self.in_loop or loop)

    def condition(self) -> Template:
        return compile_condition(self.value.get("expression"))

    def timeout(self) -> float | None:
        limit = self.value.get("limit", {})
        _only(self.name, limit, {"timeout"})
        return seconds(limit["timeout"]) if "timeout" in limit else None

    def has_option(self, option: str) -> bool:
        found = self.value.get("operationOptions")
        if found not in {None, option}:
            raise DefinitionError(f"the operation option {found!r} is not supported", self.name)
        return found == option


def _only(name: str, value: Mapping[str, Any], known: set[str]) -> None:
    if unknown := value.keys() - known:
        raise DefinitionError(f"{', '.join(sorted(unknown))} is not supported", name)


def _run_after(name: str, value: Mapping[str, Any]) -> dict[str, frozenset[Status]]:
    found = {}
    for before, accepted in value.get("runAfter", {}).items():
        statuses = {status.upper(): status for status in RUN_AFTER}
        if not accepted or not {each.upper() for each in accepted} <= statuses.keys():
            raise DefinitionError(f"runAfter {before} has the statuses {accepted}", name)
        found[before] = frozenset(statuses[each.upper()] for each in accepted)
    return found


def _request(name: str, inputs: Mapping[str, Any]) -> Template:
    _only(name, inputs, _REQUEST | {"retryPolicy"})
    for key in ("method", "uri"):
        if not inputs.get(key):
            raise DefinitionError(f"{key} is missing", name)
    if inputs["method"].upper() not in _METHODS:
        raise DefinitionError(f"the method {inputs['method']} is not supported", name)
    kind = inputs.get("authentication", {}).get("type", "ManagedServiceIdentity")
    if kind != "ManagedServiceIdentity":
        raise DefinitionError(f"the authentication {kind} is not supported", name)
    return compile_value({key: inputs[key] for key in inputs.keys() & _REQUEST})


def _compose(given: _Given) -> Action:
    given.only("inputs")
    return Compose(**given.common, inputs=compile_value(given.value.get("inputs")))


def _http(given: _Given) -> Action:
    given.only("inputs", "limit", "operationOptions")
    inputs = given.inputs()
    return Http(
        **given.common,
        inputs=_request(given.name, inputs),
        retry=load_policy(inputs.get("retryPolicy")),
        timeout=given.timeout(),
        polls=not given.has_option("DisableAsyncPattern"),
    )


def _webhook(given: _Given) -> Action:
    given.only("inputs", "limit")
    inputs = given.inputs()
    _only(given.name, inputs, {"subscribe", "unsubscribe"})
    subscribe, unsubscribe = inputs.get("subscribe", {}), inputs.get("unsubscribe", {})
    return HttpWebhook(
        **given.common,
        subscribe=_request(given.name, subscribe),
        retry=load_policy(subscribe.get("retryPolicy")),
        unsubscribe=_request(given.name, unsubscribe) if unsubscribe else None,
        unsubscribe_retry=load_policy(unsubscribe.get("retryPolicy")),
        timeout=given.timeout(),
    )


def _wait(given: _Given) -> Action:
    given.only("inputs")
    _only(given.name, given.inputs(), {"interval"})
    interval = given.inputs().get("interval", {})
    _only(given.name, interval, {"count", "unit"})
    return Wait(**given.common, inputs=compile_value(interval))


def _terminate(given: _Given) -> Action:
    """Compile a Terminate, which the service refuses inside of loops.

    Its message is: "The workflow run action 'X' has type 'Terminate' that could not be nested under
    an action of type 'until'".
    """
    given.only("inputs")
    if given.in_loop:
        raise DefinitionError("an action of type Terminate cannot be nested under a loop")
    _only(given.name, given.inputs(), {"runStatus", "runError"})
    return Terminate(**given.common, inputs=compile_value(given.inputs()))


def _initialize(given: _Given) -> Action:
    """Compile an InitializeVariable, which the service accepts outside of all groups only.

    Source: "Store and manage values by using variables in Azure Logic Apps",
    learn.microsoft.com/azure/logic-apps/logic-apps-create-variables-store-values. What an
    expression reads from a variable without a first value is not documented: here the empty value
    of its type.
    """
    given.only("inputs")
    if given.depth:
        raise DefinitionError("a variable can only be initialized outside of all groups")
    inputs = given.inputs()
    _only(given.name, inputs, {"variables"})
    variables = inputs.get("variables", [])
    if not isinstance(variables, list) or len(variables) != 1:
        raise DefinitionError("an action initializes one variable")
    [variable] = variables
    _only(given.name, variable, {"name", "type", "value"})
    kind = str(variable.get("type")).lower()
    if not variable.get("name") or kind not in _FIRST_VALUES:
        raise DefinitionError(f"a variable has a name and one of the types {[*_FIRST_VALUES]}")
    first = compile_value(variable.get("value", _FIRST_VALUES[kind]))
    return InitializeVariable(**given.common, variable=variable["name"], kind=kind, value=first)


def _set(given: _Given) -> Action:
    name, value = _assigned(given)
    if ("variables", name) in value.references:
        raise DefinitionError("a self reference is not supported when a variable is set")
    return SetVariable(**given.common, variable=name, value=value)


def _increment(given: _Given) -> Action:
    name, value = _assigned(given)
    return IncrementVariable(**given.common, variable=name, value=value)


def _assigned(given: _Given) -> tuple[str, Template]:
    given.only("inputs")
    inputs = given.inputs()
    _only(given.name, inputs, {"name", "value"})
    if not isinstance(inputs.get("name"), str):
        raise DefinitionError("the variable's name is missing")
    if "value" not in inputs:
        raise DefinitionError("the variable's value is missing")
    return inputs["name"], compile_value(inputs["value"])


def _scope(given: _Given) -> Action:
    given.only("actions")
    return Scope(**given.common, actions=given.group(given.value))


def _if(given: _Given) -> Action:
    given.only("expression", "actions", "else")
    return If(
        **given.common,
        condition=given.condition(),
        actions=given.group(given.value),
        otherwise=given.group(given.value.get("else", {})),
    )


def _until(given: _Given) -> Action:
    given.only("expression", "actions", "limit", "operationOptions")
    limit = given.value.get("limit", {})
    _only(given.name, limit, {"count", "timeout"})
    count = limit.get("count", _DEFAULT_COUNT)
    if not isinstance(count, int) or not 1 <= count <= _MOST_COUNT:
        raise DefinitionError(f"count of the limit is {count!r}; it takes 1 to {_MOST_COUNT}")
    return Until(
        **given.common,
        condition=given.condition(),
        actions=given.group(given.value, loop=True),
        count=count,
        timeout=seconds(limit.get("timeout", _DEFAULT_TIMEOUT)),
        fails_at_limit=given.has_option("FailWhenLimitsReached"),
    )


_KINDS: Mapping[str, Callable[[_Given], Action]] = {
    "Compose": _compose,
    "Http": _http,
    "HttpWebhook": _webhook,
    "If": _if,
    "IncrementVariable": _increment,
    "InitializeVariable": _initialize,
    "Scope": _scope,
    "SetVariable": _set,
    "Terminate": _terminate,
    "Until": _until,
    "Wait": _wait,
}
