"""The checks of names: unique actions, `runAfter` without cycles, references to earlier actions.

The service refuses a reference to an action that has not surely ended: the action must be on the
`runAfter` path of the action that reads it, or on the path of a group around the reader (measured
for Power Automate, github.com/tomdam/flowforger, EXPR_RUNAFTER_PATH).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from local.workflow.definition.actions import (
    Action,
    Actions,
    If,
    IncrementVariable,
    InitializeVariable,
    SetVariable,
    Until,
)
from local.workflow.definition.problems import DefinitionError
from local.workflow.expressions import Template

_ACTION_FUNCTIONS = frozenset({"actions", "body", "outputs", "result"})


def groups(action: Action) -> Iterator[Actions]:
    """Yield the groups of actions directly inside an action."""
    if isinstance(action, If):
        yield action.actions
        yield action.otherwise
    elif action.children:
        yield action.children


def every_action(actions: Actions) -> Iterator[Action]:
    """Yield all actions of a group, also those inside other actions."""
    for action in actions.values():
        yield action
        yield from every_action(action.children)


def check_order(actions: Actions) -> None:
    """Check the names and `runAfter` of all actions.

    Raises:
        DefinitionError: a name is used twice, `runAfter` names an action of another group, or the
            actions of a group wait for each other.
    """
    names = [action.name for action in _listed(actions)]
    for name in names:
        if names.count(name) > 1:
            raise DefinitionError("two actions have this name", name)
    _check_group(actions)


def check_references(actions: Actions, parameters: frozenset[str]) -> None:
    """Check that each expression reads declared parameters and actions that ended before.

    Raises:
        DefinitionError: a parameter is not declared, an action is not on the path, or a variable is
            initialized twice, or not initialized on the path.
    """
    names = [each.variable for each in actions.values() if isinstance(each, InitializeVariable)]
    for name in names:
        if names.count(name) > 1:
            raise DefinitionError(f"the variable {name} is initialized twice")
    _check_readers(actions, _Known(frozenset(), frozenset(), frozenset(), parameters))


def _listed(actions: Actions) -> Iterator[Action]:
    for action in actions.values():
        yield action
        for group in groups(action):
            yield from _listed(group)


def _check_group(actions: Actions) -> None:
    for action in actions.values():
        for before in action.run_after:
            if before not in actions:
                raise DefinitionError(
                    f"runs after {before}, which is not in the same group", action.name
                )
        if action.name in _preceding(action.name, actions):
            raise DefinitionError("runs after itself", action.name)
        for group in groups(action):
            _check_group(group)


def _preceding(name: str, actions: Actions) -> set[str]:
    """Return the names of all actions on the `runAfter` path before an action."""
    found: set[str] = set()
    waiting = list(actions[name].run_after)
    while waiting:
        before = waiting.pop()
        if before not in found:
            found.add(before)
            waiting += actions[before].run_after
    return found


@dataclass(frozen=True)
class _Known:
    """The names that an action may read: actions, variables, loops around it, parameters."""

    actions: frozenset[str]
    variables: frozenset[str]
    loops: frozenset[str]
    parameters: frozenset[str]


def _check_readers(actions: Actions, known: _Known) -> None:
    for action in actions.values():
        before = list(
            every_action({name: actions[name] for name in _preceding(action.name, actions)})
        )
        path = replace(
            known,
            actions=known.actions | {each.name for each in before},
            variables=known.variables
            | {each.variable for each in before if isinstance(each, InitializeVariable)},
        )
        for template in action.before_children:
            _check_template(action.name, template, path)
        if isinstance(action, SetVariable | IncrementVariable):
            _check_variable(action.name, action.variable, path)
        inner = replace(path, loops=known.loops | _loop_names(action))
        for group in groups(action):
            _check_readers(group, inner)
        if isinstance(action, Until):
            inside = {each.name for each in every_action(action.actions)}
            _check_template(
                action.name, action.condition, replace(inner, actions=path.actions | inside)
            )


def _loop_names(action: Action) -> frozenset[str]:
    return frozenset({action.name}) if isinstance(action, Until) else frozenset()


def _check_template(reader: str, template: Template, known: _Known) -> None:
    for function, name in sorted(template.references):
        if function in _ACTION_FUNCTIONS and name not in known.actions:
            raise DefinitionError(f"{function}('{name}') is not on the runAfter path", reader)
        if function == "parameters" and name not in known.parameters:
            raise DefinitionError(f"the parameter {name} is not declared", reader)
        if function == "iterationindexes" and name not in known.loops:
            raise DefinitionError(f"{name} is not a loop around this action", reader)
        if function == "variables":
            _check_variable(reader, name, known)


def _check_variable(reader: str, name: str, known: _Known) -> None:
    if name not in known.variables:
        raise DefinitionError(f"the variable {name} is not initialized before", reader)
