"""The matrix in parts, which different processes can try."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.chain.alarms import template_alarms
from tests.chain.cells import (
    Cell,
    combined_cells,
    is_in_sample,
    is_in_small_sample,
    single_cells,
)
from tests.chain.faults import Call
from tests.chain.infra import DEFINITION
from tests.chain.judge import Verdict, try_cell
from tests.chain.kinds import Kind
from tests.support.local.simulated_loop import SimulatedLoop

_GROUPS = 6
_SAMPLE_OF_PIPELINE = (Call.MAIL, Call.SUBSCRIBE)
_LOGGERS = ("breaker", "console", "local", "processing")

type Verdicts = list[tuple[Cell, Verdict]]


def parts() -> dict[str, list[Cell]]:
    """Return the cells of each part by its title: for each kind one per call, then the mixtures."""
    found: dict[str, list[Cell]] = {}
    for kind in Kind:
        found |= {kind.heading(call): single_cells(call, kind) for call in kind.calls}
        combined = combined_cells(kind) if kind is not Kind.AUTOMATIC else []
        groups = _GROUPS if kind is Kind.APP else 1
        before = "" if kind is Kind.APP else f"{kind}: "
        found |= {
            f"{before}several faults, group {number + 1}": combined[number::groups]
            for number in range(groups)
            if combined
        }
    return found


def samples() -> dict[str, list[Cell]]:
    """Return some cells of each part of `parts` that has one fault in each cell.

    These are a fifth of the cells of the app's circuit, and a tenth of those of a dependency's. Of
    a pipeline, whose chain is that of a manual dependency, these are the cells of two calls.
    """
    return {
        kind.heading(call): [
            cell
            for index, cell in enumerate(single_cells(call, kind))
            if (is_in_sample if kind is Kind.APP else is_in_small_sample)(index)
        ]
        for kind in Kind
        for call in (kind.calls if kind is not Kind.PIPELINE else _SAMPLE_OF_PIPELINE)
    }


async def try_cells(cells: Iterable[Cell], definition: Mapping[str, Any] = DEFINITION) -> Verdicts:
    """Try cells one after another."""
    with quiet():
        return [(cell, await try_cell(definition, cell, template_alarms())) for cell in cells]


def try_alone(cells: Iterable[Cell]) -> Verdicts:
    """Try cells in an event loop of their own."""
    return asyncio.run(try_cells(cells), loop_factory=SimulatedLoop)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the expected warnings of many thousand simulated hours out of the log."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
