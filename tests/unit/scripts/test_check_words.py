"""`scripts.check_words` finds marker words, and its list of exceptions only shrinks."""

from __future__ import annotations

import pytest

from scripts.check_words import ROOT, RULES, Finding, WordsError, find, judge, read_rules

REPOSITORY_RULES = read_rules((ROOT / RULES).read_text("utf-8"))
OLD = "fo" + "r ever"  # in two parts, so that this file does not break the rule


@pytest.mark.parametrize(
    "line",
    [
        f"A handler would keep the instance {OLD}.",
        "The reader is " + "to" + "ld of each change.",
        'def f():\n    """' + 'Whether the lease is held."""',
        "so " + "has the console",
        "# Wh" + "at was sent is kept",
    ],
)
def test_marker_word_is_found(line: str) -> None:
    (found,) = find("a.py", line, REPOSITORY_RULES)
    assert found.advice


@pytest.mark.parametrize(
    "line",
    [
        "Retry until the deadline passes.",
        '    """Return whether the lease is held."""',
        "# What is a lease?",
        "The old toldo is no marker.",
    ],
)
def test_plain_line_is_accepted(line: str) -> None:
    assert list(find("a.py", line, REPOSITORY_RULES)) == []


FOUND = Finding("a.md", 3, f"  kept {OLD}", "forever")


def test_line_that_is_not_allowed_is_a_problem() -> None:
    (problem,) = judge([FOUND], [], [])
    assert problem.startswith("a.md:3: kept")


def test_allowed_line_is_no_problem() -> None:
    assert judge([FOUND], [FOUND.entry], [FOUND.entry]) == []


def test_entry_without_a_line_must_be_removed() -> None:
    (problem,) = judge([], [FOUND.entry], [FOUND.entry])
    assert "remove the entry" in problem


def test_new_entry_is_refused() -> None:
    (problem,) = judge([FOUND], [FOUND.entry], [])
    assert "only shrink" in problem


def test_rule_without_advice_is_refused() -> None:
    with pytest.raises(WordsError, match="must have the form"):
        read_rules("onlyaword")


def test_broken_expression_is_refused() -> None:
    with pytest.raises(WordsError, match="not a regular expression"):
        read_rules("( -> close it")
