"""Expressions: syntax, functions, texts with expressions, conditions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local.workflow.expressions import (
    EvaluationError,
    ExpressionSyntaxError,
    compile_condition,
    compile_value,
)
from local.workflow.expressions.syntax import Call, Literal, Select, parse

DEFINITION = Path(__file__).parents[4] / "infra" / "workflow.json"


class Run:
    """A run whose trigger body and parameters are fixed."""

    def call(self, name: str, arguments: list[Any]) -> Any:
        values: dict[str, Any] = {
            "triggerbody": {"a": [1, {"b": None}], "name": "x"},
            "parameters": {"p": "v", "n": 3},
        }
        return values[name] if name == "triggerbody" else values[name][arguments[0]]


def value(template: Any) -> Any:
    return compile_value(template).render(Run())


def test_an_expression_is_parsed_into_a_tree() -> None:
    assert parse("f( 'it''s' , -1.5, null)?['x']") == Select(
        Call("f", (Literal("it's"), Literal(-1.5), Literal(None))), Literal("x"), optional=True
    )
    assert parse("a().b[0]") == Select(
        Select(Call("a", ()), Literal("b"), optional=False), Literal(0), optional=False
    )


@pytest.mark.parametrize(
    "text", ["", "f(", "f(1,)", "f() g()", "f()[", "'open", '"x"', "name", "f()?", "1a"]
)
def test_a_malformed_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionSyntaxError):
        parse(text)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("@@", "@"),
        ("@@parameters('p')", "@parameters('p')"),
        ("@@{parameters('p')}", "@{parameters('p')}"),
        ("a@b.org", "a@b.org"),
        ("@parameters('n')", 3),
        ("@{parameters('n')}", "3"),
        ("<@{parameters('p')}|@{ parameters('n') }>", "<v|3>"),
        ("x@@{y}", "x@{y}"),
        ("@{concat('}', '@{')}", "}@{"),
        ("@{null}|@{true}|@{json('{\"a\": [1]}')}", '|True|{"a":[1]}'),
        ({"k": ["@parameters('p')", 5, None]}, {"k": ["v", 5, None]}),
    ],
)
def test_a_text_is_replaced_where_it_has_expressions(template: Any, expected: Any) -> None:
    """A whole expression keeps its type; an expression inside a text becomes text."""
    assert value(template) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("and(true, not(false))", True),
        ("or(false, false)", False),
        ("base64ToString(base64('äß'))", "äß"),
        ("bool('TRUE')", True),
        ("bool(0)", False),
        ("coalesce(null, triggerBody()?['zz'], 4)", 4),
        ("coalesce(null)", None),
        ("concat('a', 1, true, null)", "a1True"),
        ("contains('abc', 'b')", True),
        ("contains(createArray(1, 'x'), 'x')", True),
        ("contains(createArray(1), true)", False),
        ("contains(triggerBody(), 'name')", True),
        ("decodeUriComponent('a%20b')", "a b"),
        ("empty('')", True),
        ("empty(null)", True),
        ("empty(triggerBody())", False),
        ("encodeUriComponent('a b/ü')", "a%20b%2F%C3%BC"),
        ("endsWith('abc', 'bc')", True),
        ("equals(1, 1.0)", True),
        ("equals(1, true)", False),
        ("equals('1', 1)", False),
        ("equals('A', 'a')", False),
        ("equals(json('{\"a\":[1]}'), json('{\"a\":[1.0]}'))", True),
        ("greater(2, 1)", True),
        ("greater('b', 'A')", True),
        ("greaterOrEquals(1, 1)", True),
        ("less(1, 1)", False),
        ("lessOrEquals(1, 1)", True),
        ("if(true, 1, 2)", 1),
        ("int('7')", 7),
        ("int(7.0)", 7),
        ("json('[1]')", [1]),
        ("json(triggerBody())['name']", "x"),
        ("length('abc')", 3),
        ("startsWith('abc', 'ab')", True),
        ("string(1)", "1"),
        ("string(createArray(1, 'a'))", '[1,"a"]'),
        ("toLower('A')", "a"),
        ("toUpper('a')", "A"),
        ("trim(' a ')", "a"),
        ("triggerBody()['a'][1]?['b']?['c']", None),
        ("triggerBody()?['zz']", None),
        ("triggerBody()['a']?[9]", None),
    ],
)
def test_functions_return_the_documented_values(expression: str, expected: Any) -> None:
    found = value(f"@{expression}")
    assert found == expected
    assert isinstance(found, bool) == isinstance(expected, bool)


@pytest.mark.parametrize(
    "expression",
    [
        "and(true, 1)",
        "base64ToString('%')",
        "bool('yes')",
        "contains(1, 1)",
        "contains('a', 1)",
        "greater('10', 9)",
        "if(1, 1, 1)",
        "int('x')",
        "int(null)",
        "int(1.5)",
        "json('{')",
        "length(1)",
        "not(null)",
        "toLower(1)",
        "triggerBody()['zz']",
        "triggerBody()['a'][9]",
        "triggerBody()['a']['x']",
        "triggerBody()?['name']?['x']",
        "json('null')['x']",
    ],
)
def test_a_wrong_type_fails_the_action(expression: str) -> None:
    """`?` accepts a missing property, but not a selection from a text."""
    with pytest.raises(EvaluationError):
        value(f"@{expression}")


def test_both_branches_of_if_are_evaluated() -> None:
    """An expression that works here also works where only one branch is evaluated."""
    with pytest.raises(EvaluationError, match="json"):
        value("@if(true, 1, json('{'))")
    with pytest.raises(EvaluationError, match="or"):
        value("@or(true, 'x')")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("formatNumber(1, 'C')", r"formatnumber\(\) is not supported"),
        ("length()", "0 arguments"),
        ("utcNow('R', 1)", "2 arguments"),
        ("parameters(concat('a', 'b'))", "name in quotes"),
    ],
)
def test_what_is_not_known_is_refused_by_name(expression: str, message: str) -> None:
    with pytest.raises(ExpressionSyntaxError, match=message):
        compile_value({"inputs": [f"text @{{{expression}}}"]})


def test_references_are_collected() -> None:
    template = compile_value({"a": "@{body('A')} @{outputs('B')['x']}", "b": "@parameters('p')"})
    assert template.references == {("body", "A"), ("outputs", "B"), ("parameters", "p")}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("@equals(parameters('n'), 3)", True),
        ({"equals": ["@parameters('n')", 3]}, True),
        ({"not": {"equals": ["@parameters('n')", 3]}}, False),
        ({"and": [{"greater": ["@parameters('n')", 2]}, {"less": ["@parameters('n')", 3]}]}, False),
        ({"or": [{"startsWith": ["@parameters('p')", "v"]}, {"equals": [1, 2]}]}, True),
    ],
)
def test_conditions_are_expressions_or_objects(condition: Any, expected: bool) -> None:
    assert compile_condition(condition).render(Run()) is expected


@pytest.mark.parametrize(
    "condition", [{}, {"xor": [1, 2]}, {"equals": [1]}, {"and": []}, {"and": "x"}, 5]
)
def test_an_unknown_condition_is_refused(condition: Any) -> None:
    with pytest.raises(ExpressionSyntaxError):
        compile_condition(condition)


def test_a_condition_is_a_boolean() -> None:
    with pytest.raises(EvaluationError, match="Integer, not a boolean"):
        compile_condition("@parameters('n')").render(Run())
    with pytest.raises(EvaluationError):
        compile_condition({"or": ["@true", "@parameters('n')"]}).render(Run())


def test_the_deployed_definition_can_be_compiled() -> None:
    compile_value(json.loads(DEFINITION.read_text())["actions"])
