"""Promise C17: a stop always ends, and nothing claims a stop or a start that was not seen."""

from __future__ import annotations

import pytest

from tests.chain.cells import Cell
from tests.chain.faults import Call, Length, Outcome
from tests.chain.happenings import Happening
from tests.chain.kinds import Kind
from tests.chain.matrix import Verdicts, parts, samples, try_alone
from tests.chain.table import PAGE, committed_part, head, render_part, words_off_the_page


def broken(verdicts: Verdicts) -> list[str]:
    return [f"{cell}: {verdict.problems}" for cell, verdict in verdicts if verdict.problems]


@pytest.mark.long
@pytest.mark.parametrize("title", parts())
def test_each_cell_keeps_the_promise_and_is_on_the_page(title: str) -> None:
    """`python -m tests.chain` writes the page."""
    verdicts = try_alone(parts()[title])
    assert broken(verdicts) == []
    assert committed_part(title) == render_part(verdicts)


@pytest.mark.parametrize("title", samples())
def test_each_cell_of_the_sample_keeps_the_promise_and_is_on_the_page(title: str) -> None:
    """The short run tries a fifth of the cells, and the long run tries all of them."""
    verdicts = try_alone(samples()[title])
    assert broken(verdicts) == []
    assert words_off_the_page(title, verdicts) == []


def test_sample_has_each_outcome_in_each_length_and_each_happening() -> None:
    """The sample of a call has a fifth of its cells, both with and without early callbacks."""
    for call in Call:
        cells, chosen = parts()[str(call)], samples()[str(call)]
        assert rows(chosen) == rows(cells)
        assert {outcome for outcome, _ in rows(chosen)} == set(Outcome)
        assert {cell.strikes[0].happening for cell in chosen} == set(Happening)
        assert {cell.accepts_early for cell in chosen} == {True, False}
        assert 5 * len(chosen) == len(cells)


def test_sample_of_a_dependency_has_each_outcome_in_each_length_and_each_happening() -> None:
    """The sample of a call has a tenth of its cells, both with and without early callbacks."""
    for kind in (Kind.MANUAL, Kind.AUTOMATIC):
        for call in kind.calls:
            cells, chosen = parts()[kind.heading(call)], samples()[kind.heading(call)]
            assert rows(chosen) == rows(cells)
            assert {cell.strikes[0].happening for cell in chosen} == set(Happening)
            assert {cell.accepts_early for cell in chosen} == {True, False}
            assert {cell.kind for cell in cells} == {kind}
            assert len(chosen) * len(Happening) == len(cells)


def rows(cells: list[Cell]) -> set[tuple[Outcome, Length]]:
    return {(cell.strikes[0].outcome, cell.strikes[0].length) for cell in cells}


def test_page_has_each_part_and_their_sums() -> None:
    text = PAGE.read_text()
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == [title.capitalize() for title in parts()]
    beginning = text.partition("\n## ")[0]
    assert beginning == head(text.removeprefix(beginning))
