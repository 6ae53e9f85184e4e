"""Promise C17: a stop always ends, and nothing claims a stop or a start that was not seen."""

from __future__ import annotations

import pytest

from tests.chain.matrix import parts, try_part_alone
from tests.chain.table import PAGE, committed_part, head, render_part


@pytest.mark.parametrize("title", list(parts()))
def test_each_cell_keeps_the_promise_and_is_on_the_page(title: str) -> None:
    """`python -m tests.chain` writes the page."""
    verdicts = try_part_alone(title)
    broken = [f"{cell}: {verdict.problems}" for cell, verdict in verdicts if verdict.problems]
    assert broken == []
    assert committed_part(title) == render_part(verdicts)


def test_page_has_each_part_and_their_sums() -> None:
    text = PAGE.read_text()
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == [title.capitalize() for title in parts()]
    beginning = text.partition("\n## ")[0]
    assert beginning == head(text.removeprefix(beginning))
