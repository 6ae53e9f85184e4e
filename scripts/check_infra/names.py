"""The rules for the names of resources in the Bicep files.

A preview shows a resource only if its name, condition and loop are known before the deployment
starts. Only the names of rights hold an id that is known later: the id of the principal. Azure
refuses to change the principal of a right, so a right of a new principal needs a new name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scripts.check_infra.bicep import BicepFile, body

_RESOURCE = re.compile(
    r"^resource (?P<label>\w+) '(?P<type>[^@]+)@[^']+' (?:existing )?=(?P<header>.*)$"
    r"(?P<body>(?:\n(?!}).*)*)",
    re.MULTILINE,
)
_NAME = re.compile(r"^  name: (.*)$", re.MULTILINE)
_PRINCIPAL = re.compile(r"^\s+(?:principalId|objectId): (\w+)", re.MULTILINE)
_VARIABLE = re.compile(r"^var (\w+) = (.*(?:\n(?=[ \])}]).*)*)", re.MULTILINE)
_RIGHTS = ("/roleAssignments", "/accessPolicyAssignments")
_IDENTIFIER = re.compile(r"(?<![.\w])[A-Za-z_]\w*(?!\w*:)")


@dataclass(frozen=True)
class _Resource:
    """One resource declaration; the expressions are source text."""

    label: str
    type: str
    header: str
    name: str
    body: str

    @property
    def is_right(self) -> bool:
        """Return whether the resource gives a right to a principal."""
        return self.type.endswith(_RIGHTS)

    @property
    def principal(self) -> str:
        """Return the parameter that holds the principal of a right; empty for other resources."""
        found = _PRINCIPAL.search(self.body) if self.is_right else None
        return found[1] if found else ""


def principal_problems(file: BicepFile) -> Iterator[str]:
    """Yield one line per right whose name does not hold its principal."""
    for each in _resources(file):
        if each.is_right and each.principal not in _identifiers(each.name):
            yield (
                f"{file.name}: the name of {each.label} must hold the principal's id; "
                "take the id as a parameter of the module"
            )


def start_problems(files: Mapping[str, BicepFile]) -> Iterator[str]:
    """Yield one line per resource whose name, condition or loop takes a module's output."""
    caller = files["resources.bicep"]
    for module in caller.part("modules").values():
        called = files.get(module["detail"]["path"])
        if called is None:
            continue
        late = {
            name
            for name, value in body(module).get("params", {}).items()
            if "'outputs'" in str(value)
        }
        for each in _resources(called):
            # A key of an object is no identifier, but the list of a loop also ends in a colon.
            header = each.header.replace(":", " ")
            used = _with_variables(called, _identifiers(f"{each.name} {header}"))
            for name in sorted((used & late) - {each.principal}):
                # The id of a role is known only after the deployment, like the principal's.
                if not (each.is_right and name == "roleId"):
                    yield (
                        f"{called.name}: the name, condition or loop of {each.label} takes {name}, "
                        "an output of a module; a preview does not show the resource"
                    )


def _resources(file: BicepFile) -> Iterator[_Resource]:
    for found in _RESOURCE.finditer(file.code):
        name = _NAME.search(found["body"])
        yield _Resource(
            found["label"], found["type"], found["header"], name[1] if name else "", found["body"]
        )


def _with_variables(file: BicepFile, names: set[str]) -> set[str]:
    """Return the names, with all names in the definitions of variables among them."""
    variables = {name: _identifiers(text) for name, text in _VARIABLE.findall(file.code)}
    found: set[str] = set()
    while new := names - found:
        found |= new
        names = set().union(*(variables.get(name, set()) for name in new))
    return found


def _identifiers(text: str) -> set[str]:
    """Return the identifiers of an expression, also those inside of strings."""
    inside = " ".join(re.findall(r"\$\{([^}]*)\}", text))
    outside = re.sub(r"'[^'\n]*'", "''", text)
    return set(_IDENTIFIER.findall(f"{outside} {inside}"))
