"""The promises of the chain for the circuits of dependencies and pipelines, which stop no app."""

from __future__ import annotations

from collections.abc import Iterable

from local.workflow.definition.status import Status
from scripts.check_infra.alarms import Alarm
from tests.chain.clocks import HOUR, MINUTE
from tests.chain.faults import Call
from tests.chain.kinds import Kind
from tests.chain.world import World

DECIDED, CLOSED, ASKED, LEFT_OPEN = "decided", "closed by itself", "asked", "left open"
_LOOKS, _LOOK_SECONDS = 8, 15 * MINUTE
"""A request for approval is repeated within half an hour, and an announcement within an hour."""


async def dependency_end(world: World, alarms: Iterable[Alarm], problems: list[str]) -> str:
    """Run a cell of a circuit that stops no app, and return the end before an operator decided.

    Args:
        world: the world, whose faults have ended.
        alarms: the alarms that count.
        problems: gets the broken promises.
    """
    if world.kind is Kind.AUTOMATIC:
        end = await _automatic_end(world, problems)
    else:
        end = await _manual_end(world, alarms, problems)
    world.line.repaired = True
    await world.settle()
    if not world.is_quiet:
        problems.append(f"an operator decided, but the circuit is {world.state} or a run continues")
    if any(seen.call in {Call.STOP, Call.START} for seen in world.workflow.seen):
        problems.append(f"a workflow run stops or starts the app for a {world.kind.noun}")
    return end


async def silence(world: World, alarms: Iterable[Alarm]) -> list[str]:
    """Return a problem if the circuit is open, nobody is asked, and no alarm fired."""
    if world.state != "open" or world.console.away or await _is_asked(world):
        return []
    return [] if world.alarms_since(alarms, world.clock.start) else [_silence(world)]


def _silence(world: World) -> str:
    return f"the circuit of a {world.kind.noun} is open, and nobody is asked"


async def _manual_end(world: World, alarms: Iterable[Alarm], problems: list[str]) -> str:
    for _ in range(_LOOKS):
        if world.state != "open":
            return DECIDED
        if await _is_asked(world):
            return ASKED
        await world.until(lambda: world.state != "open", _LOOK_SECONDS)
    names = world.alarms_since(alarms, world.clock.start)
    if names:
        return names[0]
    problems.append(_silence(world))
    return LEFT_OPEN


async def _is_asked(world: World) -> bool:
    return any(run.generation == world.generation for run in await world.console.waiting())


async def _automatic_end(world: World, problems: list[str]) -> str:
    await world.until(lambda: world.state in {"closed", "isolated"}, HOUR)
    if world.state not in {"closed", "isolated"}:
        problems.append(f"the circuit does not recover by itself: it is {world.state}")
    if world.workflow.seen:
        calls = ", ".join(sorted({str(seen.call) for seen in world.workflow.seen}))
        problems.append(f"the workflow makes calls although nobody is to be asked: {calls}")
    if any(run.status is not Status.CANCELLED for run in world.workflow.runs()):
        problems.append("a run for a dependency that recovers by itself does not end at once")
    return DECIDED if world.state == "isolated" else CLOSED
