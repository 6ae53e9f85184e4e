"""Expressions of the Workflow Definition Language: syntax, functions, evaluation, conditions."""

from local.workflow.expressions.conditions import compile_condition
from local.workflow.expressions.errors import EvaluationError, ExpressionSyntaxError
from local.workflow.expressions.template import Template, compile_value

__all__ = [
    "EvaluationError",
    "ExpressionSyntaxError",
    "Template",
    "compile_condition",
    "compile_value",
]
