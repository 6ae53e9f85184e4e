"""The evaluation of one expression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from local.workflow.expressions.errors import EvaluationError, ExpressionSyntaxError
from local.workflow.expressions.functions import FUNCTIONS
from local.workflow.expressions.syntax import Call, Literal, Node, calls
from local.workflow.expressions.values import Json, type_name

CONTEXT: Mapping[str, tuple[int, int]] = {
    "actions": (1, 1),
    "body": (1, 1),
    "guid": (0, 0),
    "iterationindexes": (1, 1),
    "listcallbackurl": (0, 0),
    "outputs": (1, 1),
    "parameters": (1, 1),
    "result": (1, 1),
    "triggerbody": (0, 0),
    "triggeroutputs": (0, 0),
    "utcnow": (0, 1),
    "variables": (1, 1),
    "workflow": (0, 0),
}
"""The functions that read the run, with the fewest and the most arguments."""

REFERENCES = frozenset(
    {"actions", "body", "iterationindexes", "outputs", "parameters", "result", "variables"}
)
"""The functions whose argument is a name; the service checks the name when a workflow is saved."""


class Context(Protocol):
    """The run that an expression reads."""

    def call(self, name: str, arguments: list[Json]) -> Json:
        """Return the value of a function of `CONTEXT`, whose name is in lower case."""


def check(node: Node) -> None:
    """Check the names and the number of arguments of all functions in an expression.

    Raises:
        ExpressionSyntaxError: a function is unknown, or has a wrong number of arguments.
    """
    for call in calls(node):
        known = FUNCTIONS.get(call.name)
        bounds = (known.least, known.most) if known is not None else CONTEXT.get(call.name)
        if bounds is None:
            raise ExpressionSyntaxError(f"the function {call.name}() is not supported")
        if not bounds[0] <= len(call.arguments) <= bounds[1]:
            raise ExpressionSyntaxError(
                f"{call.name}() has {len(call.arguments)} arguments; "
                f"it takes {bounds[0]} to {bounds[1]}"
            )
        if call.name in REFERENCES and not isinstance(call.arguments[0], Literal):
            raise ExpressionSyntaxError(f"{call.name}() takes a name in quotes")


def references(node: Node) -> set[tuple[str, str]]:
    """Return the references of an expression as pairs of function and name."""
    return {
        (call.name, str(call.arguments[0].value))
        for call in calls(node)
        if call.name in REFERENCES and isinstance(call.arguments[0], Literal)
    }


type Evaluate = Callable[[Context], Json]
"""Returns the value of an expression for a run.

Raises:
    EvaluationError: a function refuses its arguments, or a selection is not possible.
"""


def compile_node(node: Node) -> Evaluate:
    """Compile an expression once, because a loop evaluates the same expression many times."""
    if isinstance(node, Literal):
        value = node.value
        return lambda _: value
    if isinstance(node, Call):
        return _compile_call(node.name, [compile_node(argument) for argument in node.arguments])
    of, key, optional = compile_node(node.of), compile_node(node.key), node.optional
    return lambda run: _select(of(run), key(run), optional)


def _compile_call(name: str, arguments: list[Evaluate]) -> Evaluate:
    if name in CONTEXT:
        return lambda run: run.call(name, [argument(run) for argument in arguments])
    apply = FUNCTIONS[name].apply
    return lambda run: apply(*[argument(run) for argument in arguments])


def _select(value: Json, key: Json, optional: bool) -> Json:
    """Return a property or an item; `?` accepts null and missing properties, but no other type."""
    match value:
        case None if optional:
            return None
        case dict() if isinstance(key, str):
            if key in value or optional:
                return value.get(key)
            known = ", ".join(value) or "none"
            raise EvaluationError(f"property {key!r} doesn't exist; available properties: {known}")
        case list() if isinstance(key, int) and not isinstance(key, bool):
            if 0 <= key < len(value):
                return value[key]
            if optional:
                return None
            raise EvaluationError(f"index {key} is outside of an array of {len(value)} items")
        case _:
            raise EvaluationError(
                f"{key!r} cannot be selected; selection is not supported on {type_name(value)}"
            )
