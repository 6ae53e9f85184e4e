"""The check `python -m scripts.check_words` for words that are hard to read.

`marker_words.txt` has the rules. `marker_words_allowed.txt` lists lines that keep such a word, for
instance because the line quotes another text. The list may only shrink.
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
    """An invalid rule; the message names the line and the accepted form."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A marker word or opening, and its replacement."""

    pattern: re.Pattern[str]
    advice: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A line that breaks a rule; line numbers start at 1."""

    file: str
    number: int
    line: str
    advice: str

    @property
    def entry(self) -> str:
        """The line in the form of an entry in the list of allowed lines."""
        return f"{self.file}: {self.line.strip()}"


def read_rules(text: str) -> list[Rule]:
    """Return the rules from the text of marker_words.txt.

    Raises:
        WordsError: a line does not have the form "expression -> advice".
    """
    rules = []
    for line in _entries(text):
        pattern, arrow, advice = line.partition(" -> ")
        if not arrow:
            raise WordsError(f"{RULES}: {line!r} must have the form 'expression -> advice'")
        try:
            rules.append(Rule(re.compile(pattern, re.IGNORECASE), advice))
        except re.error as error:
            raise WordsError(
                f"{RULES}: {pattern!r} is not a regular expression ({error})"
            ) from None
    return rules


def find(file: str, text: str, rules: Sequence[Rule]) -> Iterator[Finding]:
    """Yield one finding for each line that breaks a rule."""
    for number, line in enumerate(text.splitlines(), 1):
        for rule in rules:
            if rule.pattern.search(line):
                yield Finding(file, number, line, rule.advice)
                break


def judge(findings: Sequence[Finding], allowed: Sequence[str], first: Sequence[str]) -> list[str]:
    """Return one message for each problem.

    Args:
        findings: the lines that break a rule.
        allowed: the current list of allowed lines.
        first: the list of allowed lines as first committed.
    """
    entries = {finding.entry for finding in findings}
    problems = [
        f"{each.file}:{each.number}: {each.line.strip()}\n    write: {each.advice}"
        for each in findings
        if each.entry not in allowed
    ]
    problems += [
        f"{ALLOWED}: remove the entry '{entry}', because no such line breaks a rule"
        for entry in allowed
        if entry not in entries
    ]
    problems += [
        f"{ALLOWED}: rewrite the line '{entry}' and remove its entry; the list may only shrink"
        for entry in allowed
        if entry not in first
    ]
    return problems


def _entries(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _git(*arguments: str) -> str:
    command = ("git", *arguments)
    return subprocess.run(  # noqa: S603 - fixed arguments
        command, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def _first_list() -> list[str]:
    """Return the allowed lines as first committed, or the current ones before the first commit."""
    added = _git("log", "--diff-filter=A", "--format=%H", "--", ALLOWED.as_posix()).split()
    if not added:
        return _entries((ROOT / ALLOWED).read_text("utf-8"))
    return _entries(_git("show", f"{added[-1]}:{ALLOWED.as_posix()}"))


def text_files() -> list[str]:
    """Return the paths of the text files that git tracks or would add, with slashes."""
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    return [
        file
        for file in listed
        if not file.endswith(_BINARY) and file not in SKIPPED and (ROOT / file).is_file()
    ]


def main() -> int:
    """Check all text files and return the exit code."""
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
