"""JSON values of a definition with expressions in their texts.

- A text that begins with @ is an expression, and its value keeps its type: "@outputs('A')".
- @{…} inside a text is replaced by the text of its value.
- @@ at the start of a text, or before {, stands for one @.

Keys of objects are texts, too, but contain no expressions here. Source: "Schema reference guide for
the Workflow Definition Language", section Expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from local.workflow.expressions.errors import ExpressionSyntaxError
from local.workflow.expressions.evaluation import Context, check, compile_node, references
from local.workflow.expressions.syntax import Node, parse, parse_at
from local.workflow.expressions.values import Json, text


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled value.

    Attributes:
        render: returns the value for a run; raises EvaluationError.
        references: the names that the value reads, as pairs of function and name.
    """

    render: Callable[[Context], Json]
    references: frozenset[tuple[str, str]]


def compile_value(value: Json) -> Template:
    """Compile a JSON value of a definition.

    Raises:
        ExpressionSyntaxError: an expression is malformed, or calls an unknown function.
    """
    if isinstance(value, str):
        return _compile_text(value)
    if isinstance(value, list):
        items = [compile_value(item) for item in value]
        return Template(lambda run: [item.render(run) for item in items], _union(items))
    if isinstance(value, dict):
        members = {key: compile_value(item) for key, item in value.items()}
        return Template(
            lambda run: {key: item.render(run) for key, item in members.items()},
            _union(members.values()),
        )
    return Template(lambda _: value, frozenset())


def _compile_text(value: str) -> Template:
    if value.startswith("@") and not value.startswith(("@@", "@{")):
        return _compile_node(parse(value[1:]))
    parts = _parts(value)
    if all(isinstance(part, str) for part in parts):
        plain = "".join(map(str, parts))
        return Template(lambda _: plain, frozenset())
    compiled = [
        Template(lambda _, part=part: part, frozenset())  # type: ignore[misc]
        if isinstance(part, str)
        else _compile_node(part)
        for part in parts
    ]
    return Template(
        lambda run: "".join(text(part.render(run)) for part in compiled), _union(compiled)
    )


def _compile_node(node: Node) -> Template:
    check(node)
    return Template(compile_node(node), frozenset(references(node)))


def _parts(value: str) -> list[str | Node]:
    """Split a text into plain texts and expressions."""
    parts: list[str | Node] = []
    at = 0
    if value.startswith("@@") and not value.startswith("@@{"):
        parts.append("@")
        at = 2
    while (found := value.find("@{", at)) >= 0:
        if value[at:found].endswith("@"):
            parts.append(value[at : found - 1] + "@{")
            at = found + 2
            continue
        parts.append(value[at:found])
        node, at = parse_at(value, found + 2)
        if not value.startswith("}", at):
            raise ExpressionSyntaxError(f"{value!r}: expected }} at {at}")
        parts.append(node)
        at += 1
    parts.append(value[at:])
    return parts


def _union(templates: Iterable[Template]) -> frozenset[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for template in templates:
        found |= template.references
    return frozenset(found)
