"""The matrix fails when a part of the chain is taken out or is as wrong as it once was."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import pytest

from tests.chain.alarms import template_alarms
from tests.chain.cells import Cell
from tests.chain.faults import Call, Length, Outcome, Strike
from tests.chain.happenings import Happening
from tests.chain.infra import DEFINITION
from tests.chain.judge import STARTED, try_cell
from tests.chain.kinds import OTHER_SETTINGS, Kind
from tests.chain.matrix import quiet
from tests.chain.operator import Operator

ISOLATED = Cell((Strike(Call.MAIL, Outcome.SUCCESS, Length.ONCE, Happening.ISOLATED),), True)
EMPTIED = Cell(
    (Strike(Call.CALL_BACK, Outcome.REFUSED, Length.ONCE, Happening.REDIS_EMPTIED),), True
)
UNCALLED = Cell((Strike(Call.CALL_BACK, Outcome.REFUSED, Length.LONG, Happening.NOTHING),), True)
BANK = Cell(
    (Strike(Call.MAIL, Outcome.SUCCESS, Length.ONCE, Happening.NOTHING),), True, Kind.MANUAL
)
EMPTIED_BANK = Cell(
    (Strike(Call.MAIL, Outcome.SUCCESS, Length.ONCE, Happening.REDIS_EMPTIED),), True, Kind.MANUAL
)
REFUSED_BANK = Cell(
    (Strike(Call.SUBSCRIBE, Outcome.FAILED, Length.ALWAYS, Happening.NOTHING),), True, Kind.MANUAL
)
MAIL = Cell(
    (Strike(Call.DELIVER, Outcome.SUCCESS, Length.ONCE, Happening.NOTHING),), True, Kind.AUTOMATIC
)
ORDERS = Cell(
    (Strike(Call.MAIL, Outcome.SUCCESS, Length.ONCE, Happening.NOTHING),), True, Kind.PIPELINE
)
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
    assert await problems([BANK, EMPTIED_BANK, REFUSED_BANK, MAIL, ORDERS]) == []


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


async def test_a_definition_that_does_not_know_kinds_fails() -> None:
    """An opening of a dependency's circuit would stop the app."""
    document = copy.deepcopy(DEFINITION)
    action(document, "Kind")["inputs"] = "app"
    found = await problems([BANK], document)
    assert "a workflow run stops or starts the app for a dependency" in found
    assert "a mail does not say that the app is not stopped for a dependency" in found


async def test_a_definition_that_starts_the_app_for_a_dependency_fails() -> None:
    document = copy.deepcopy(DEFINITION)
    conditions = action(document, "Decided_for_the_app")["expression"]["and"]
    assert conditions.pop(0) == {"equals": ["@outputs('Kind')", "app"]}
    action(document, "Decided_without_a_stop")["actions"] = {}
    found = await problems([BANK], document)
    assert "a workflow run stops or starts the app for a dependency" in found


async def test_a_definition_that_asks_for_every_dependency_fails() -> None:
    """The circuit of the dependency recovers by itself, so nobody should be woken."""
    document = copy.deepcopy(DEFINITION)
    action(document, "Check_recovery")["actions"] = {}
    found = await problems([MAIL], document)
    assert any("although nobody is to be asked" in problem for problem in found)


async def test_a_run_that_does_not_ask_about_a_dependency_fails() -> None:
    """The mail alone is no request: an approval is on the page, and calls the run back."""
    document = copy.deepcopy(DEFINITION)
    action(document, "Check_recovery")["expression"]["and"].pop()
    found = await problems([BANK], document)
    assert found == ["the circuit of a dependency is open, and nobody is asked"]


async def test_chain_for_a_dependency_without_the_alarm_of_failing_steps_fails() -> None:
    names = {alarm.name for alarm in template_alarms() if alarm.metric == "ActionsFailed"}
    assert await problems([REFUSED_BANK], DEFINITION, *names)


async def test_definition_that_knows_no_pipelines_fails() -> None:
    """An opening of one pipeline would stop the app, and so the other pipelines."""
    document = copy.deepcopy(DEFINITION)
    kind = action(document, "Kind")
    kind["inputs"] = kind["inputs"].replace("'pipeline'), 'pipeline'", "'pipeline'), 'app'")
    assert kind["inputs"] != action(DEFINITION, "Kind")["inputs"]
    found = await problems([ORDERS], document)
    assert "a workflow run stops or starts the app for a pipeline" in found
    assert "a mail does not say that the app is not stopped for a pipeline" in found


async def test_definition_that_does_not_ask_about_a_pipeline_fails() -> None:
    document = copy.deepcopy(DEFINITION)
    action(document, "Check_recovery")["expression"]["and"].pop()
    found = await problems([ORDERS], document)
    assert found == ["the circuit of a pipeline is open, and nobody is asked"]


async def test_approval_that_moves_the_other_pipeline_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The operator closes the other circuit, which was isolated by hand."""
    monkeypatch.setattr("tests.chain.operator.Operator.approve", _approve_all)
    found = await problems([ORDERS])
    assert "the circuit of the other pipeline is ('closed', 1), expected ('isolated', 1)" in found


async def _approve_all(operator: Operator) -> None:
    """Approve as before, and close the other circuit, too."""
    circuit = await operator._circuit()
    if circuit["state"] == "open":
        await operator._act(f"{operator._path}/approve", {"generation": circuit["generation"]})
    await operator._act(f"/api/circuits/{OTHER_SETTINGS.name}/close", {"generation": 1})
