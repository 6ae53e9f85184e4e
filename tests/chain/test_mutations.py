"""The matrix fails when a part of the chain is taken out or is as wrong as it once was."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from tests.chain.alarms import template_alarms
from tests.chain.cells import Cell
from tests.chain.faults import Call, Length, Outcome, Strike
from tests.chain.happenings import Happening
from tests.chain.infra import DEFINITION
from tests.chain.judge import STARTED, try_cell
from tests.chain.matrix import quiet

ISOLATED = Cell((Strike(Call.MAIL, Outcome.SUCCESS, Length.ONCE, Happening.ISOLATED),), True)
EMPTIED = Cell(
    (Strike(Call.CALL_BACK, Outcome.REFUSED, Length.ONCE, Happening.REDIS_EMPTIED),), True
)
UNCALLED = Cell((Strike(Call.CALL_BACK, Outcome.REFUSED, Length.LONG, Happening.NOTHING),), True)
REFUSED = Cell((Strike(Call.SUBSCRIBE, Outcome.FAILED, Length.ALWAYS, Happening.APPROVED),), True)


def action(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an action of a definition, at any depth."""
    found = _find(document["actions"], name)
    assert found is not None, name
    return found


def _find(actions: dict[str, Any], name: str) -> dict[str, Any] | None:
    for known, each in actions.items():
        if known == name:
            return each  # type: ignore[no-any-return]
        for inner in (each.get("actions", {}), each.get("else", {}).get("actions", {})):
            if (found := _find(inner, name)) is not None:
                return found
    return None


async def problems(
    cells: Iterable[Cell], document: dict[str, Any] = DEFINITION, *without: str
) -> list[str]:
    """Return the broken promises of some cells.

    Args:
        cells: the cells.
        document: the definition.
        without: names of alarms that are taken out of the template.
    """
    alarms = [alarm for alarm in template_alarms() if alarm.name not in without]
    with quiet():
        verdicts = [await try_cell(document, cell, alarms) for cell in cells]
    return [problem for verdict in verdicts for problem in verdict.problems]


async def test_the_deployed_definition_passes() -> None:
    assert await problems([ISOLATED, EMPTIED, UNCALLED, REFUSED]) == []


async def test_a_run_that_ends_for_any_newer_generation_fails() -> None:
    """AZ-W1: an isolated generation is newer, but has no run that would start the app."""
    document = copy.deepcopy(DEFINITION)
    conditions = action(document, "Newer_generation_is_open")["expression"]["and"]
    conditions[:] = [each for each in conditions if "greater" in each]
    assert len(conditions) == 1
    assert await problems([ISOLATED], document)


async def test_a_run_that_asks_once_fails() -> None:
    """AZ-W2: the one registration is lost with Redis' data, after the approval.

    Before the approval, the console would announce the opening again.
    """
    document = copy.deepcopy(DEFINITION)
    action(document, "Wait_for_decision")["limit"]["timeout"] = "P30D"
    assert await problems([EMPTIED], document) == ["the app is left stopped in silence"]


async def test_a_chain_without_the_alarm_of_failing_steps_fails() -> None:
    names = {alarm.name for alarm in template_alarms() if alarm.metric == "ActionsFailed"}
    assert names
    assert await problems([REFUSED], DEFINITION, *names)
    assert await problems([REFUSED]) == []
    assert STARTED not in names
