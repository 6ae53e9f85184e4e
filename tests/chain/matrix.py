"""The matrix in parts, which different processes can try."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.chain.alarms import template_alarms
from tests.chain.cells import Cell, combined_cells, is_in_sample, single_cells
from tests.chain.faults import Call
from tests.chain.infra import DEFINITION
from tests.chain.judge import Verdict, try_cell
from tests.support.local.simulated_loop import SimulatedLoop

_GROUPS = 6
_LOGGERS = ("breaker", "console", "local", "processing")

type Verdicts = list[tuple[Cell, Verdict]]


def parts() -> dict[str, list[Cell]]:
    """Return the cells of each part by the part's title: one part per call, then the mixtures."""
    single = {str(call): single_cells(call) for call in Call}
    combined = combined_cells()
    mixed = {
        f"several faults, group {number + 1}": combined[number::_GROUPS]
        for number in range(_GROUPS)
    }
    return single | mixed


def samples() -> dict[str, list[Cell]]:
    """Return half of the cells of each part of `parts` that has one fault in each cell."""
    return {
        str(call): [cell for index, cell in enumerate(single_cells(call)) if is_in_sample(index)]
        for call in Call
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
