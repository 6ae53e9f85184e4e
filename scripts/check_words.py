"""`python -m scripts.check_words`: find words that make a reader stumble.

`marker_words.txt` holds the rules. `marker_words_allowed.txt` lists lines that keep such a word,
for instance because the line quotes somebody else's text; that list may only shrink.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RULES = Path("scripts/marker_words.txt")
ALLOWED = Path("scripts/marker_words_allowed.txt")
SKIPPED = ("package-lock.json", "LICENSE", RULES.as_posix(), ALLOWED.as_posix())
_BINARY = (".png", ".svg", ".jpg", ".ico", ".woff2")


class WordsError(ValueError):
    """One of the two files cannot be read; the message names the line and what it takes."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A marker word or opening, and what to write instead."""

    pattern: re.Pattern[str]
    advice: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A line that breaks a rule; `number` counts from 1."""

    file: str
    number: int
    line: str
    advice: str

    @property
    def entry(self) -> str:
        """The line as the list of allowed lines would name it."""
        return f"{self.file}: {self.line.strip()}"


def read_rules(text: str) -> list[Rule]:
    """Read the rules.

    Raises:
        WordsError: a line is not of the form "expression -> advice".
    """
    rules = []
    for line in _entries(text):
        pattern, arrow, advice = line.partition(" -> ")
        if not arrow:
            raise WordsError(f"{RULES}: {line!r} takes the form: expression -> advice")
        try:
            rules.append(Rule(re.compile(pattern, re.IGNORECASE), advice))
        except re.error as error:
            raise WordsError(f"{RULES}: {pattern!r} is no regular expression: {error}") from None
    return rules


def find(file: str, text: str, rules: Sequence[Rule]) -> Iterator[Finding]:
    """Yield each line that breaks a rule, once."""
    for number, line in enumerate(text.splitlines(), 1):
        for rule in rules:
            if rule.pattern.search(line):
                yield Finding(file, number, line, rule.advice)
                break


def judge(findings: Sequence[Finding], allowed: Sequence[str], first: Sequence[str]) -> list[str]:
    """Return one message for each problem.

    Args:
        findings: the lines that break a rule.
        allowed: the list of allowed lines as it is now.
        first: that list as it was when it was first committed.
    """
    entries = {finding.entry for finding in findings}
    problems = [
        f"{each.file}:{each.number}: {each.line.strip()}\n    write: {each.advice}"
        for each in findings
        if each.entry not in allowed
    ]
    problems += [
        f"{ALLOWED}: remove this entry, no such line breaks a rule: {entry}"
        for entry in allowed
        if entry not in entries
    ]
    problems += [
        f"{ALLOWED}: the list may only shrink, rewrite the line instead: {entry}"
        for entry in allowed
        if entry not in first
    ]
    return problems


def _entries(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _git(*arguments: str) -> str:
    command = ("git", *arguments)
    return subprocess.run(  # noqa: S603 - our own words
        command, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def _first_list() -> list[str]:
    """Return the allowed lines as first committed; the present ones before the first commit."""
    added = _git("log", "--diff-filter=A", "--format=%H", "--", ALLOWED.as_posix()).split()
    if not added:
        return _entries((ROOT / ALLOWED).read_text("utf-8"))
    return _entries(_git("show", f"{added[-1]}:{ALLOWED.as_posix()}"))


def text_files() -> list[str]:
    """Return the text files that git tracks or would add, with slashes."""
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    return [
        file
        for file in listed
        if not file.endswith(_BINARY) and file not in SKIPPED and (ROOT / file).is_file()
    ]


def main() -> int:
    """Check all text files; return the exit code."""
    try:
        rules = read_rules((ROOT / RULES).read_text("utf-8"))
        allowed = _entries((ROOT / ALLOWED).read_text("utf-8"))
        findings = [
            finding
            for file in text_files()
            for finding in find(file, (ROOT / file).read_text("utf-8", "replace"), rules)
        ]
        problems = judge(findings, allowed, _first_list())
    except (OSError, WordsError) as error:
        print(f"check_words: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(f"{len(problems)} lines to rewrite (rules: {RULES})", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
