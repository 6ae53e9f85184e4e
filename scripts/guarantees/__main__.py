"""The commands `python -m scripts.guarantees check` and `… break`.

`check` is part of `make lint`. `break` chooses guarantees by a seed, breaks their lines one by one
in a copy of the project, and shows whether the tests that the page names notice it.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from scripts.guarantees.breaking import SECONDS, Finding, broken, copied, run
from scripts.guarantees.table import Row, problems, read

ROOT = Path(__file__).parents[2]
PAGE = "docs/guarantees.md"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return 0 if nothing is wrong, else 1."""
    parser = argparse.ArgumentParser(prog="python -m scripts.guarantees", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="check that each test and each line of the page exists")
    breaks = commands.add_parser("break", help="break guarantees, and see whether tests notice")
    breaks.add_argument("--seed", type=int, default=1, help="chooses the guarantees (default 1)")
    breaks.add_argument("--rows", type=int, default=10, help="how many guarantees (default 10)")
    breaks.add_argument(
        "--line",
        type=int,
        action="append",
        metavar="N",
        help=f"break the guarantee in line N of {PAGE} instead; can be repeated",
    )
    chosen = parser.parse_args(arguments)
    page = (ROOT / PAGE).read_text("utf-8")
    found = problems(page, ROOT)
    if chosen.command == "check" or (found and not chosen.line):
        for problem in found:
            print(f"{PAGE}, {problem}", file=sys.stderr)
        return 1 if found else 0
    rows, _ = read(page)
    if chosen.line:
        rows = [row for row in rows if row.number in chosen.line]
        if missing := set(chosen.line) - {row.number for row in rows}:
            parser.error(f"{PAGE} has no guarantee in line {', '.join(map(str, sorted(missing)))}")
    else:
        if not 1 <= chosen.rows <= len(rows):
            parser.error(f"--rows takes 1 to {len(rows)}, the number of guarantees")
        rows = random.Random(chosen.seed).sample(rows, chosen.rows)  # noqa: S311
    try:
        return _break(rows)
    except KeyboardInterrupt:
        print("interrupted; the copy is deleted, and nothing else was changed", file=sys.stderr)
        return 130


def _break(rows: list[Row]) -> int:
    console = Console(highlight=False)
    with copied(ROOT) as copy, Progress(console=console, transient=True) as progress:
        task = progress.add_task("tests without a broken line", total=len(rows) + 1)
        names = sorted({name for row in rows for name in row.tests})
        outcome = run(copy, names, SECONDS * len(rows))
        for tests, what in ((outcome.failed, "fail"), (outcome.not_run, "do not run")):
            if tests:
                found = ", ".join(sorted(tests))
                console.print(f"These tests {what} although no line is broken: {found}")
        if outcome.failed or outcome.not_run:
            return 1
        findings = []
        for row in rows:
            progress.update(task, advance=1, description=f"line {row.number}")
            findings.append(broken(copy, row))
    table = Table("line", "what goes wrong", "tests", "result")
    for finding in findings:
        row = finding.row
        table.add_row(str(row.number), row.wrong, "\n".join(row.tests), _result(finding))
    console.width = max(console.width, 120)
    console.print(table)
    held = sum(finding.holds for finding in findings)
    console.print(f"{held} of {len(findings)} guarantees: each test fails without its line")
    return 0 if held == len(findings) else 1


def _result(finding: Finding) -> str:
    passed = [f"{name} passes with each line broken" for name in finding.survivors]
    harmless = [f"no test needs {line.file}: {line.code}" for line in finding.harmless]
    not_run = [
        f"{name} did not run with {line.file}: {line.broken}; only a failure shows that the test "
        "needs the line"
        for name, line in finding.not_run
    ]
    return "\n".join(passed + harmless + not_run) or "fail, as they must"


if __name__ == "__main__":
    sys.exit(main())
