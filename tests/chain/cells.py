"""The cells of the matrix: each strike alone, and random pairs and triples of strikes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chain.faults import Call, Length, Outcome, Strike
from tests.chain.happenings import Happening
from tests.chain.kinds import Kind

PAIRS = 500
TRIPLES = 50
DEPENDENCY_PAIRS = 100
_SEED = 23


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix.

    Attributes:
        strikes: the faults, each on another call.
        accepts_early: whether the workflow accepts callbacks before the subscription's answer.
        kind: the kind of the circuit that opens.
    """

    strikes: tuple[Strike, ...]
    accepts_early: bool
    kind: Kind = Kind.APP

    def __str__(self) -> str:
        faults = " + ".join(str(strike) for strike in self.strikes)
        return faults if self.kind is Kind.APP else f"{self.kind}: {faults}"


def lengths(call: Call, outcome: Outcome) -> tuple[Length, ...]:
    """Return the lengths in which an outcome of a call is tried."""
    if outcome is Outcome.SUCCESS:
        return (Length.ONCE,)
    if call in {Call.SUBSCRIBE, Call.START}:
        return (Length.ONCE, Length.LONG, Length.ALWAYS)
    return (Length.ONCE, Length.LONG)


def is_in_sample(index: int) -> bool:
    """Return whether a single cell is in the sample, by its index among the cells of its call.

    The sample has a fifth of the cells: some of each outcome in each length, of each happening, and
    both with and without early callbacks.
    """
    row, column = divmod(index, len(Happening))
    return (column - 2 * row - row // 5) % 5 == 0


def is_in_small_sample(index: int) -> bool:
    """Return whether a single cell of a dependency is in the small sample, by its index.

    The sample has each happening, each outcome, and both answers to early callbacks, in a tenth of
    the cells.
    """
    row, column = divmod(index, len(Happening))
    return column == (2 * row + row // 5) % len(Happening)


def single_cells(call: Call, kind: Kind = Kind.APP) -> list[Cell]:
    """Return the cells of one call; every other cell refuses early callbacks."""
    rows = [(outcome, length) for outcome in Outcome for length in lengths(call, outcome)]
    return [
        Cell((Strike(call, *row, happening),), (number + column) % 2 == 0, kind)
        for number, row in enumerate(rows)
        for column, happening in enumerate(Happening)
    ]


def combined_cells(kind: Kind = Kind.APP) -> list[Cell]:
    """Return the random pairs and triples, the same in each run."""
    choice = random.Random(_SEED)  # noqa: S311 - no secret
    sizes = [2] * PAIRS + [3] * TRIPLES if kind is Kind.APP else [2] * DEPENDENCY_PAIRS
    return [
        Cell(tuple(_strikes(choice, size, kind.calls)), index % 2 == 0, kind)
        for index, size in enumerate(sizes)
    ]


def _strikes(choice: random.Random, size: int, calls: Sequence[Call]) -> Iterator[Strike]:
    for call in choice.sample(calls, size):
        outcome = choice.choice([each for each in Outcome if each is not Outcome.SUCCESS])
        length = choice.choice([Length.ONCE, Length.LONG])
        yield Strike(call, outcome, length, choice.choice(list(Happening)))
