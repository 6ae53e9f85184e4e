"""The promises of the chain, checked in each cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.check_infra.alarms import Alarm
from tests.chain.cells import Cell
from tests.chain.clocks import DAY, HOUR
from tests.chain.dependency_judge import ASKED, CLOSED, DECIDED, LEFT_OPEN, dependency_end, silence
from tests.chain.faults import Call, Length
from tests.chain.happenings import Happening
from tests.chain.kinds import Kind
from tests.chain.truth import is_silent, touched, untruths, wrong_mails
from tests.chain.world import World

STARTED, LEFT = "started", "left stopped"
_UNDER_WAY_SECONDS = 5.0


@dataclass(frozen=True)
class Verdict:
    """The end of a cell.

    Attributes:
        end: STARTED, ASKED, the name of the alarm that fired, or LEFT; for a dependency see
            `dependency_judge`.
        problems: the broken promises.
    """

    end: str
    problems: tuple[str, ...] = ()


async def try_cell(definition: Mapping[str, Any], cell: Cell, alarms: Iterable[Alarm]) -> Verdict:
    """Run a cell and judge its end."""
    alarms = list(alarms)
    world = World(definition, cell.strikes, accepts_early=cell.accepts_early, kind=cell.kind)
    problems: list[str] = []
    try:
        await world.begin()

        async def before_help() -> None:
            if cell.kind in {Kind.MANUAL, Kind.PIPELINE}:
                problems.extend(await silence(world, alarms))

        await world.reach_the_strikes(before_help)
        problems += await _look(world)
        if cell.kind is Kind.APP:
            await world.settle()
            problems += await _look(world)
            end = await _end(world, cell, alarms, problems)
        else:
            end = await dependency_end(world, alarms, problems)
            if end not in {DECIDED, CLOSED, ASKED, LEFT_OPEN} and all_working(cell):
                problems.append(f"only the alarm {end} saves the cell, although all parts work")
        problems += [*await untruths(world), *touched(world)]
    finally:
        await world.aclose()
    problems += [*_older_starts(world), *wrong_mails(world)]
    return Verdict(end, tuple(dict.fromkeys(problems)))


async def _look(world: World) -> list[str]:
    problems = await untruths(world)
    if await is_silent(world):
        problems.append("the app runs while its circuit is open, and nothing says so")
    return problems


async def _end(world: World, cell: Cell, alarms: list[Alarm], problems: list[str]) -> str:
    stopped = world.site.stopped_at
    if stopped is None:
        return STARTED
    if await world.console.waiting():
        if await _give(world):
            return ASKED
        problems.append("an operator gave what was asked for, and the app does not run")
        return LEFT
    if not world.alarms_since(alarms, stopped):
        await world.until(lambda: world.site.running, DAY)
    names = world.alarms_since(alarms, stopped)
    if not names:
        problems.append("the app is left stopped in silence")
        return LEFT
    if all_working(cell):
        problems.append(f"only the alarm {names[0]} saves the cell, although all parts work")
    return names[0]


async def _give(world: World) -> bool:
    """Repair the cause and give what is asked for, twice if need be; return whether the app runs.

    The first answer may be for an approval, and the second for a start.
    """
    world.line.repaired = True
    for _ in range(2):
        await world.done(world.operator.give())
        await world.until(lambda: world.site.running, 2 * HOUR)
        if world.site.running:
            return True
    return False


def all_working(cell: Cell) -> bool:
    """Return whether console, Redis and workflow work in this cell, apart from single failures."""
    parts = {
        Call.LOOK_UP,
        Call.SUBSCRIBE,
        Call.LOOK_UP_AGAIN,
        Call.REPORT,
        Call.DELIVER,
        Call.CALL_BACK,
    }
    broken = {Happening.REDIS_EMPTIED, Happening.CONSOLE_AWAY, Happening.RESTARTED}
    return not any(
        (strike.call in parts and strike.length is not Length.ONCE) or strike.happening in broken
        for strike in cell.strikes
    )


def _older_starts(world: World) -> Iterator[str]:
    """Yield the starts by a run while the circuit was open.

    Between a look-up and its start the circuit may open: such a start is under way already.
    """
    for done in world.done_requests:
        if done.seen.call is not Call.START or done.state != "open":
            continue
        if done.since < done.seen.at - _UNDER_WAY_SECONDS:
            yield f"a run of {done.runs} starts the app while generation {done.generation} is open"
