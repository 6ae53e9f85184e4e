"""The rows of docs/guarantees.md, and what is wrong with them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

COLUMNS = (
    "what goes wrong",
    "what happens",
    "what is kept",
    "what may be doubled",
    "where the promise ends",
    "test",
    "line that it breaks with",
)
FEWEST_ROWS = 40
UNKNOWN = "Not known"
"""The heading of the part whose rows name no test, because nobody could try them."""

_CELL = re.compile(r"(?<!\\)\|")
_TEST = re.compile(r"`(test_\w+)`")
_LINE = re.compile(r"`([\w./-]+)`: `([^`]+)` → `([^`]*)`")
_DEFINED = re.compile(r"^ *(?:async )?def (test_\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Line:
    """A piece of code that a guarantee needs, and what breaks it.

    Attributes:
        file: path from the root, with slashes.
        code: the piece of code, which the file has once.
        broken: the code that takes its place.
    """

    file: str
    code: str
    broken: str


@dataclass(frozen=True, slots=True)
class Row:
    """A guarantee: what goes wrong, its tests, and the lines that it breaks with."""

    number: int
    wrong: str
    tests: tuple[str, ...]
    lines: tuple[Line, ...]


def read(page: str) -> tuple[list[Row], list[str]]:
    """Return the guarantees of the page, and what is wrong with its tables.

    A row is a line of a table. Its number is the number of its line on the page.
    """
    rows, problems, part = [], [], ""
    for number, text in enumerate(page.splitlines(), 1):
        if text.startswith("#"):
            part = text.lstrip("# ")
        if not text.startswith("|") or text.startswith("|--") or part == UNKNOWN:
            continue
        cells = [cell.strip() for cell in _CELL.split(text.strip())[1:-1]]
        if len(cells) != len(COLUMNS):
            problems.append(f"line {number}: {len(cells)} columns; a guarantee has {len(COLUMNS)}")
        elif cells != list(COLUMNS):
            lines = tuple(_lines(cells[6]))
            rows.append(Row(number, cells[0], tuple(_TEST.findall(cells[5])), lines))
    return rows, problems


def problems(page: str, root: Path) -> list[str]:
    """Return one line for each thing that is wrong with the page.

    Args:
        page: the text of docs/guarantees.md.
        root: the folder of the project, with the tests and the code.
    """
    rows, found = read(page)
    defined = files_of_tests(root)
    if len(rows) < FEWEST_ROWS:
        found.append(f"{len(rows)} guarantees; at least {FEWEST_ROWS} are required")
    for row in rows:
        found += (f"line {row.number}: {problem}" for problem in _problems(row, defined, root))
    return found


def files_of_tests(root: Path) -> Mapping[str, Sequence[str]]:
    """Return the files that define each test, as paths from the root."""
    found = defaultdict(list)
    for file in sorted((root / "tests").rglob("test_*.py")):
        for name in dict.fromkeys(_DEFINED.findall(file.read_text("utf-8"))):
            found[name].append(file.relative_to(root).as_posix())
    return found


def _lines(cell: str) -> Iterator[Line]:
    for file, code, broken in _LINE.findall(cell):
        yield Line(file, code.replace(r"\|", "|"), broken.replace(r"\|", "|"))


def _problems(row: Row, defined: Iterable[str], root: Path) -> Iterator[str]:
    if not row.tests:
        yield "names no test"
    for name in row.tests:
        if name not in defined:
            yield f"the test {name} does not exist"
    if not row.lines:
        yield "names no line that it breaks with; a line is `file`: `code` → `broken code`"
    for line in row.lines:
        path = root / line.file
        count = path.read_text("utf-8").count(line.code) if path.is_file() else -1
        if count < 0:
            yield f"the file {line.file} does not exist"
        elif count != 1:
            yield f"{line.file} has {line.code!r} {count} times; the code must be there once"
