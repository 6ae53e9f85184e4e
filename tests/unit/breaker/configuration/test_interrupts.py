"""Ctrl-C while a program still imports its modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
MODULE = "breaker.configuration.interrupts"
PROGRAMS = (
    *("benchmarks", "breaker", "breakwater", "console", "loadtest", "local"),
    *("local.functions_host", "processing"),
)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import {MODULE}\n{code}"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )


def test_ctrl_c_during_an_import_shows_no_traceback() -> None:
    """The shell still sees that Ctrl-C ended the process."""
    done = run("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", -2)


def test_other_errors_are_reported() -> None:
    done = run("raise ImportError('no such part')")
    assert done.stderr.endswith("ImportError: no such part\n")
    assert done.returncode == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_imports_it_first(program: str) -> None:
    tree = ast.parse((ROOT / program.replace(".", "/") / "__main__.py").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    first, second = imports[:2]
    assert isinstance(first, ast.ImportFrom)
    assert first.module == "__future__"
    assert isinstance(second, ast.Import)
    assert [each.name for each in second.names] == [MODULE]


def test_only_programs_import_it() -> None:
    """A library must not change how its process ends."""
    importing = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for package in ("benchmarks", "breaker", "breakwater", "console", "loadtest", "local")
        for path in (ROOT / package).rglob("*.py")
        if MODULE in path.read_text()
    }
    assert importing == {*PROGRAMS} - {"processing"}
