"""Bicep files, read by two parsers.

pycep gives the parts of a file, but is silent about some of what it does not understand; the
tree-sitter grammar knows all of Bicep's syntax, and says how many declarations there should be.
Neither knows resource types: that needs the Bicep compiler.
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
    """A file cannot be read; says where."""


@dataclass(frozen=True)
class BicepFile:
    """One file.

    Attributes:
        name: its path below infra/.
        parts: what pycep found: parameters, variables, resources, modules, outputs, by name.
        declared: how many of each the grammar found.
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
        """The declarations of a kind, by name."""
        return dict(self.parts.get(kind, {}))

    def resources(self) -> dict[str, Any]:
        """The resources that the file makes, not those that it refers to."""
        return {name: each for name, each in self.part("resources").items() if not each["existing"]}

    def types(self) -> Counter[str]:
        """How many declarations there are of each resource type that the file makes."""
        return Counter(each["type"] for each in self.resources().values())

    def uses(self, name: str) -> int:
        """How often a name occurs, its declaration included; as a property's name it does not."""
        keys = len(re.findall(rf"^\s*{re.escape(name)}\s*:", self.code, re.MULTILINE))
        return len(re.findall(rf"(?<![\w'.]){re.escape(name)}(?![\w'])", self.code)) - keys


def body(declaration: Mapping[str, Any]) -> dict[str, Any]:
    """What a declaration's object holds, inside its condition or loop."""
    config = declaration["config"]
    while isinstance(config, dict) and "config" in config:
        config = config["config"]
    return dict(config)


def parse(name: str, text: str) -> BicepFile:
    """Read one file.

    Raises:
        BicepSyntaxError: it is not Bicep.
    """
    root = Parser(Language(tree_sitter_bicep.language())).parse(text.encode()).root_node
    if (line := _error_line(root)) is not None:
        raise BicepSyntaxError(f"{name}:{line}: this is not Bicep")
    try:
        parts = _pycep().parse(text=text)
    except Exception as error:
        # lark's errors have no common class that pycep names
        raise BicepSyntaxError(f"{name}: {error}") from error
    found = Counter(child.type for child in root.children)
    return BicepFile(name, text, parts, {kind: found[node] for kind, node in _KINDS.items()})


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
