"""The reader of Bicep files, which uses two parsers.

pycep returns the declarations of a file, but silently skips some syntax. The tree-sitter grammar
covers Bicep's whole syntax and gives the number of declarations. Neither parser checks resource
types, which needs the Bicep compiler.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from pycep import BicepParser
from tree_sitter import Language, Node, Parser

_COMMENT = re.compile(r"^\s*//.*$|(?<=\s)//.*$", re.MULTILINE)
_KINDS = {
    "parameters": "parameter_declaration",
    "variables": "variable_declaration",
    "resources": "resource_declaration",
    "modules": "module_declaration",
    "outputs": "output_declaration",
}


class BicepSyntaxError(ValueError):
    """A syntax error; the message names file and line."""


@dataclass(frozen=True)
class BicepFile:
    """One Bicep file.

    Attributes:
        name: the path below infra/.
        parts: the declarations that pycep found, by kind (parameters, variables, resources,
            modules, outputs) and name.
        declared: the number of declarations that the grammar found, by kind.
    """

    name: str
    text: str
    parts: Mapping[str, Any]
    declared: Mapping[str, int]

    @cached_property
    def code(self) -> str:
        """The text without comments."""
        return _COMMENT.sub("", self.text)

    def part(self, kind: str) -> dict[str, Any]:
        """Return the declarations of a kind by name."""
        return dict(self.parts.get(kind, {}))

    def resources(self) -> dict[str, Any]:
        """Return the resources that the file creates, without existing ones."""
        return {name: each for name, each in self.part("resources").items() if not each["existing"]}

    def types(self) -> Counter[str]:
        """Return the number of declarations per resource type that the file creates."""
        return Counter(each["type"] for each in self.resources().values())

    def uses(self, name: str) -> int:
        """Count the occurrences of a name, with its declaration and without property names."""
        keys = len(re.findall(rf"^\s*{re.escape(name)}\s*:", self.code, re.MULTILINE))
        return len(re.findall(rf"(?<![\w'.]){re.escape(name)}(?![\w'])", self.code)) - keys


def body(declaration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object of a declaration, without its condition or loop."""
    config = declaration["config"]
    while isinstance(config, dict) and "config" in config:
        config = config["config"]
    return dict(config)


def parse(name: str, text: str) -> BicepFile:
    """Parse one file.

    Raises:
        BicepSyntaxError: the text is not Bicep.
    """
    root = syntax_tree(name, text)
    try:
        parts = _pycep().parse(text=text)
    except Exception as error:
        # pycep exposes no common base class for lark's errors.
        raise BicepSyntaxError(f"{name}: {error}") from error
    found = Counter(child.type for child in root.children)
    return BicepFile(name, text, parts, {kind: found[node] for kind, node in _KINDS.items()})


def syntax_tree(name: str, text: str) -> Node:
    """Return the root of the tree-sitter tree of one file.

    Raises:
        BicepSyntaxError: the text is not Bicep.
    """
    root = Parser(Language(tree_sitter_bicep.language())).parse(text.encode()).root_node
    if (line := _error_line(root)) is not None:
        raise BicepSyntaxError(f"{name}:{line}: this is not Bicep")
    return root


@cache
def _pycep() -> BicepParser:
    """Return the parser; building its tables takes longer than reading all of infra/."""
    return BicepParser()


def load(directory: Path) -> dict[str, BicepFile]:
    """Read every Bicep file below a directory."""
    return {
        name: parse(name, path.read_text())
        for path in sorted(directory.rglob("*.bicep"))
        for name in [path.relative_to(directory).as_posix()]
    }


def _error_line(node: Node) -> int | None:
    if node.type == "ERROR" or node.is_missing:
        return node.start_point[0] + 1
    lines = (_error_line(child) for child in node.children)
    return next((line for line in lines if line is not None), None)
