"""The test kit as its documents show it: docs/testing.md, the docstrings and the example."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import breakwater.testing
from breakwater.testing import TestApp
from breakwater_pytest import breakwater_app as _fixture

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/testing.md").read_text()
NAMES = sorted(set(breakwater.testing.__all__) - {"Call", "EventOutcome"})
"""The public names; the two others are parts of an outcome."""

breakwater_app = _fixture


def test_page_shows_tests_that_pass(breakwater_app: Callable[..., TestApp]) -> None:
    names: dict[str, Any] = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)):
        exec(compile(block, f"docs/testing.md, block {number}", "exec"), names)  # noqa: S102
    assert run_tests(names, breakwater_app) == 7


@pytest.mark.parametrize("name", ["", *NAMES])
def test_docstring_shows_an_example_that_works(name: str) -> None:
    documented = getattr(breakwater.testing, name) if name else breakwater.testing
    module = importlib.import_module(documented.__module__) if name else breakwater.testing
    (found, *_) = doctest.DocTestFinder(recurse=False).find(documented, name or "testing", module)
    assert found.examples
    report: list[str] = []
    doctest.DocTestRunner().run(found, out=report.append)
    assert "".join(report) == ""


def test_tests_of_the_example_pass(
    breakwater_app: Callable[..., TestApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs/examples")
    names = ("payments", "test_payments")
    try:
        found = importlib.import_module("test_payments")
    finally:
        for name in names:
            sys.modules.pop(name, None)
    assert run_tests(vars(found), breakwater_app) == 5


def run_tests(names: Mapping[str, Any], breakwater_app: Callable[..., TestApp]) -> int:
    """Run the tests among these names; return their number."""
    tests = [each for name, each in names.items() if name.startswith("test_")]
    for test in tests:
        test(*(breakwater_app for _ in inspect.signature(test).parameters))
    return len(tests)
