"""The conditions of If and Until: an expression, or an object of comparisons.

Source: "Create conditional statements that control workflow actions in Azure Logic Apps",
learn.microsoft.com/azure/logic-apps/logic-apps-control-flow-conditional-statement.
"""

from __future__ import annotations

from local.workflow.expressions.errors import EvaluationError, ExpressionSyntaxError
from local.workflow.expressions.evaluation import Context
from local.workflow.expressions.functions import FUNCTIONS
from local.workflow.expressions.template import Template, compile_value
from local.workflow.expressions.values import Json, type_name

_COMPARISONS = frozenset(
    {
        "contains",
        "endswith",
        "equals",
        "greater",
        "greaterorequals",
        "less",
        "lessorequals",
        "startswith",
    }
)


def compile_condition(condition: Json) -> Template:
    """Compile a condition; its value is a boolean.

    All parts of `and` and `or` are evaluated, so that a part that fails is never hidden.

    Raises:
        ExpressionSyntaxError: the condition has an unknown form.
    """
    if isinstance(condition, str):
        compiled = compile_value(condition)
        return Template(lambda run: _boolean(compiled.render(run)), compiled.references)
    if not isinstance(condition, dict) or len(condition) != 1:
        raise ExpressionSyntaxError(f"a condition is an object with one name, not {condition!r}")
    [(given, parts)] = condition.items()
    name = given.lower()
    if name == "not":
        inner = compile_condition(parts)
        return Template(lambda run: not inner.render(run), inner.references)
    if name in {"and", "or"}:
        if not isinstance(parts, list) or not parts:
            raise ExpressionSyntaxError(f"{given} takes a list of conditions, not {parts!r}")
        every = [compile_condition(part) for part in parts]
        join = all if name == "and" else any
        read = frozenset[tuple[str, str]]().union(*(part.references for part in every))

        def joined(run: Context) -> bool:
            values = [part.render(run) for part in every]
            return join(values)

        return Template(joined, read)
    if name not in _COMPARISONS:
        raise ExpressionSyntaxError(f"the condition {given} is not supported")
    if not isinstance(parts, list) or len(parts) != 2:
        raise ExpressionSyntaxError(f"{given} takes two values, not {parts!r}")
    operands = compile_value(parts)

    def compare(run: Context) -> bool:
        return _boolean(FUNCTIONS[name].apply(*operands.render(run)))

    return Template(compare, operands.references)


def _boolean(value: Json) -> bool:
    if not isinstance(value, bool):
        raise EvaluationError(f"the condition is {type_name(value)}, not a boolean")
    return value
