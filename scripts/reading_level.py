"""The command `python -m scripts.reading_level [ROOT]` for the documents and CLI help.

The command prints for each text the words, the words per sentence, the Flesch reading ease (higher
is easier) and the Flesch-Kincaid grade (school years). The figures depend only on the lengths of
words and sentences. A riddle in short words counts as easy, so that `check_words` and a reader
without history must find it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import textstat
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/*.md", "docs/adr/*.md")
COMMANDS = (
    "breaker",
    "processing",
    "processing redrive",
    "processing poison",
    "processing rewind",
    "console",
    "local",
    "local up",
    "local host",
    "loadtest",
    "loadtest run",
    "benchmarks",
)


def prose(markdown: str) -> str:
    """Return the sentences of a Markdown text, without code, tables and markup."""
    text = re.sub(r"(?s)```.*?```", "", markdown)
    text = re.sub(r"(?m)^\s*\|.*$", "", text)
    text = re.sub(r"`[^`]*`", "name", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"(?m)^(#+ .*|[^\n.:?!]+)$(?=\n\n)", r"\1.", text)
    return re.sub(r"[*#>_]", "", text)


def help_of(command: str, root: Path) -> str:
    """Return the output of `python -m <command> --help` without usage lines and option names."""
    completed = subprocess.run(  # noqa: S603 - only the commands above
        [sys.executable, "-m", *command.split(), "--help"],
        cwd=root,
        env=os.environ | {"COLUMNS": "500"},
        check=True,
        capture_output=True,
        text=True,
    )
    text = re.sub(r"(?s)^usage:.*?\n\n", "", completed.stdout)
    entries = re.findall(r"(?m)^ *(?:-\S.*?|\{.*?\}|\S+) {2,}(\S.*)$|^([A-Za-z].*)$", text)
    lines = ["".join(pair).rstrip(".") + "." for pair in entries]
    return " ".join(line for line in lines if not line.endswith(":."))


def texts(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the prose of each text."""
    for pattern in DOCUMENTS:
        for path in sorted(root.glob(pattern)):
            yield path.relative_to(root).as_posix(), prose(path.read_text("utf-8"))
    for command in COMMANDS:
        yield f"python -m {command} --help", help_of(command, root)


def main(arguments: list[str]) -> int:
    """Print one row per text and return the exit code."""
    root = Path(arguments[0]) if arguments else ROOT
    table = Table("text", "words", "words per sentence", "reading ease", "grade")
    for name, text in texts(root):
        table.add_row(
            name,
            f"{textstat.lexicon_count(text)}",
            f"{textstat.words_per_sentence(text):.1f}",
            f"{textstat.flesch_reading_ease(text):.0f}",
            f"{textstat.flesch_kincaid_grade(text):.1f}",
        )
    Console(width=100).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
