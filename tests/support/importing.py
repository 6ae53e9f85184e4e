"""The order in which pytest-xdist's processes import the test modules.

Each process imports all of them. In the same order, all processes would at the same time compile
the same module, of which only the next run finds the compiled file. So each begins with another
part and finds the rest compiled by the others.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest


def import_own_part(config: pytest.Config) -> None:
    """Import this process's part of the test modules, if it is one of several that need all.

    A module that cannot be imported is left to the collection, which imports it again and reports
    the error.
    """
    worker: dict[str, str | int] | None = getattr(config, "workerinput", None)
    if worker is None or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    number, count = int(str(worker["workerid"]).removeprefix("gw")), int(worker["workercount"])
    root = config.rootpath
    for file in part_of([*root.joinpath("tests").rglob("test_*.py")], number, count):
        name = ".".join(file.relative_to(root).with_suffix("").parts)
        try:
            importlib.import_module(name)
        except (Exception, pytest.skip.Exception):
            sys.modules.pop(name, None)


def part_of(files: list[Path], number: int, count: int) -> list[Path]:
    """Return one of `count` parts of about the same size; neighbours import much in common."""
    part, before = [], 0
    total = sum(file.stat().st_size for file in files)
    for file in sorted(files):
        if before * count // total == number:
            part.append(file)
        before += file.stat().st_size
    return part
