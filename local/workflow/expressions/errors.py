"""The errors of expressions."""

from __future__ import annotations


class ExpressionSyntaxError(ValueError):
    """An expression that cannot be parsed, or that calls an unknown function."""


class EvaluationError(ValueError):
    """An expression that cannot be evaluated; the action that contains the expression fails."""
