"""The examples in the docstrings of the public names, and the files in docs/examples."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import breakwater
import breakwater.testing
from scripts.load_app import SETTINGS

ROOT = Path(__file__).parents[3]
NAMES = [
    *(("breakwater", name) for name in breakwater.__all__),
    ("breakwater.testing", ""),
]


@pytest.mark.parametrize(("module", "name"), NAMES, ids=lambda each: each or "module")
def test_example_of_a_public_name_runs(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each public name has an example, and its output is the shown one."""
    for setting, value in SETTINGS.items():
        monkeypatch.setenv(setting, value)
    owner = importlib.import_module(module)
    text = (getattr(owner, name) if name else owner).__doc__ or ""
    test = doctest.DocTestParser().get_doctest(text, {}, name or module, None, None)
    assert test.examples, f"{name or module} has no example in its docstring"
    report: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(test, out=report.append)
    assert failed == 0, "".join(report)


def test_wrong_example_is_found() -> None:
    """The runner compares the output."""
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner().run(test, out=lambda _text: None).failed == 1


@pytest.mark.parametrize(
    "file", sorted((ROOT / "docs" / "examples").glob("*.py")), ids=lambda file: file.name
)
def test_each_file_of_examples_has_a_test(file: Path) -> None:
    """An example that no test names is not run by CI."""
    named = re.compile(rf"\b{file.stem}\b")
    tests = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if path != Path(__file__) and named.search(path.read_text())
    ]
    assert tests, f"no test runs docs/examples/{file.name}"
