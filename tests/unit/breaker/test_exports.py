"""The names that `breaker` loads on first use."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import breaker
from local.services.child import REPOSITORY


def imported_for_type_checkers() -> dict[str, str]:
    """Return the module of each name that the `if TYPE_CHECKING` block imports."""
    tree = ast.parse(Path(breaker.__file__).read_text())
    [block] = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {
        alias.name: node.module or ""
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_lists_of_exported_names_agree() -> None:
    """Type checkers, `import *` and the loader see the same names from the same modules."""
    assert imported_for_type_checkers() == breaker._HOMES
    assert sorted(breaker.__all__) == sorted(breaker._HOMES)


@pytest.mark.parametrize("name", breaker.__all__)
def test_exported_name_is_defined_in_its_module(name: str) -> None:
    found = getattr(breaker, name)
    assert found.__name__ == name
    assert found.__module__.startswith("breaker.")


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'breaker' has no attribute 'Breaker'"):
        getattr(breaker, "Breaker")  # noqa: B009 - mypy refuses the plain attribute


def test_configuration_alone_loads_no_redis_client() -> None:
    program = "import sys, breaker.configuration.settings\nprint('redis' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == "False"
