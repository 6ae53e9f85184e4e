"""The syntax of expressions, as a tree, and the parser.

The grammar is small: literals, function calls and selections. A string is in single quotes, and two
quotes stand for one. Source: "Schema reference guide for the Workflow Definition Language",
learn.microsoft.com/azure/logic-apps/logic-apps-workflow-definition-language, section Expressions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from local.workflow.expressions.errors import ExpressionSyntaxError

_SPACE = re.compile(r"\s*")
_STRING = re.compile(r"'((?:[^']|'')*)'")
_NUMBER = re.compile(r"-?\d+(\.\d+)?(?![\w.])")
_NAME = re.compile(r"[A-Za-z_]\w*")
_LITERALS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: str | float | bool | None


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function; `name` is in lower case, because functions ignore case."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Select:
    """A selection by name or index: `of[key]`, or `of?[key]`, which accepts a missing value."""

    of: Node
    key: Node
    optional: bool


type Node = Literal | Call | Select


def parse(text: str) -> Node:
    """Parse a complete expression without its @.

    Raises:
        ExpressionSyntaxError: the text is not an expression.
    """
    node, end = parse_at(text, 0)
    if end != len(text):
        raise ExpressionSyntaxError(f"{text!r} has more text after the expression, at {end}")
    return node


def parse_at(text: str, start: int) -> tuple[Node, int]:
    """Parse the expression that begins at `start`; return the tree and the end.

    White space after the expression is part of the expression.

    Raises:
        ExpressionSyntaxError: there is no expression.
    """
    parser = _Parser(text, start)
    return parser.expression(), parser.at


def calls(node: Node) -> Iterator[Call]:
    """Yield every function call in a tree."""
    if isinstance(node, Call):
        yield node
        for argument in node.arguments:
            yield from calls(argument)
    elif isinstance(node, Select):
        yield from calls(node.of)
        yield from calls(node.key)


class _Parser:
    """A recursive descent parser with its position in the text."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self.at = at
        self._take(_SPACE)

    def expression(self) -> Node:
        node = self._primary()
        while True:
            optional = self._text.startswith("?", self.at)
            following = self.at + optional
            if self._text.startswith("[", following):
                self.at = following
                self._expect("[")
                node = Select(node, self.expression(), optional)
                self._expect("]")
            elif self._text.startswith(".", following):
                self.at = following
                self._expect(".")
                name = self._take(_NAME) or self._fail("a property's name")
                node = Select(node, Literal(name[0]), optional)
            else:
                return node

    def _primary(self) -> Node:
        if match := self._take(_STRING):
            return Literal(match[1].replace("''", "'"))
        if match := self._take(_NUMBER):
            return Literal(float(match[0]) if match[1] else int(match[0]))
        match = self._take(_NAME) or self._fail("a literal or a function")
        if self._text.startswith("(", self.at):
            return Call(match[0].lower(), self._arguments())
        if match[0].lower() not in _LITERALS:
            self._fail(f"( after {match[0]}")
        return Literal(_LITERALS[match[0].lower()])

    def _arguments(self) -> tuple[Node, ...]:
        self._expect("(")
        found: list[Node] = []
        while not self._text.startswith(")", self.at):
            if found:
                self._expect(",")
            found.append(self.expression())
        self._expect(")")
        return tuple(found)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self.at)
        if match is not None:
            self.at = match.end()
            self.at += len(_SPACE.match(self._text, self.at)[0])  # type: ignore[index]
        return match

    def _expect(self, character: str) -> None:
        self._take(re.compile(re.escape(character))) or self._fail(character)

    def _fail(self, wanted: str) -> re.Match[str]:
        found = self._text[self.at : self.at + 10] or "the end"
        raise ExpressionSyntaxError(
            f"{self._text!r}: expected {wanted} at {self.at}, but found {found!r}"
        )
